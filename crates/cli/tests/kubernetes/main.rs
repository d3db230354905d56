//! `filejobs controller` on a real control plane, with Postgres, Redis, an API process and a worker beside it.
//!
//! All tests share the control plane; each has a namespace, a database and a Redis server of its own, and a controller
//! that looks after this namespace only, with the rights that `docs/operator.md` lists and no others.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod mirror;
mod place;

/// The program under test.
const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

/// Three rows, the second of them bad by [`schema`].
const ORDERS: &str = "id,name,amount\n1,Amara,1.5\nx,Bjarne,2.5\n3,Chen,3.5\n";

/// What the rows of [`ORDERS`] are checked against.
fn schema() -> serde_json::Value {
    serde_json::json!({"fields": [
        {"name": "id", "type": "integer"},
        {"name": "name", "type": "string"},
        {"name": "amount", "type": "number"}
    ]})
}
