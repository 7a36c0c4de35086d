//! What must hold: of each delivery, whenever everything is at rest, and at the end.

mod delivery;
mod end;
mod rest;
