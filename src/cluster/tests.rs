//! Tests of the mesh: rule by rule, and as whole clusters.

mod rules;
mod whole;
mod world;
