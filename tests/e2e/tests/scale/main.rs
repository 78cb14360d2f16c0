//! How a node fares with many workers, and with many after one another.

fn main() {}
