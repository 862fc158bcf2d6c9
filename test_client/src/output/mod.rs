//! The output of the program: for a person on a terminal, or one JSON document for a script.

mod chart;
mod terminal;
mod text;

pub(crate) use chart::{Axis, Series, Svg};
pub(crate) use terminal::{BAD, Bar, DIM, GOOD, NO_TICK, STRONG, Terminal, tick};
pub(crate) use text::{count, grouped, visible};
