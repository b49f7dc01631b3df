//! hist
