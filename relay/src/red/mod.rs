//! To come.

pub mod neighbour;
