//! Tests of the mesh: rule by rule, and as whole clusters.

mod whole;
mod world;
