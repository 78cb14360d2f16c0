//! The whole store on a real HDFS of three datanodes, with what can happen to one.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod faults;
mod fixture;
