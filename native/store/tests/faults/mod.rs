mod content;
mod datanodes;
mod images;
mod kills;
mod namenode;
mod slots;

pub(crate) use images::Images;
