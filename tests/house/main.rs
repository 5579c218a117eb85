//! Tests of the source tree itself: floors and doors (DESIGN.md §2), and the habits that keep it readable. They run
//! nothing of Rhumb.

mod floors;
mod hygiene;
mod reachable;
mod source;
