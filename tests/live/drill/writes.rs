//! The writes of an operator to one object, from the record of its proxy.

use http::Method;
use serde_json::Value;

use crate::support::proxy::{Call, Exchange, Record};

const UNDO: &str = "/metadata/annotations/firebreak.dev~1undo";

/// How often the server changed the spec of an object for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpecWrites {
    /// The loan was taken.
    pub applied: usize,
    /// The loan was returned.
    pub returned: usize,
}

/// A write to the object with this name.
pub fn touches(call: &Call, name: &str) -> bool {
    call.is_write() && call.target.name == name && call.target.group != "firebreak.dev"
}

/// The patch that takes the loan.
pub fn is_apply(call: &Call, name: &str) -> bool {
    touches(call, name) && changes_spec(call) && undo(call).is_some_and(Value::is_string)
}

/// The patch that returns the loan.
pub fn is_return(call: &Call, name: &str) -> bool {
    touches(call, name) && changes_spec(call) && undo(call).is_some_and(Value::is_null)
}

fn changes_spec(call: &Call) -> bool {
    call.method == Method::PATCH && call.body.as_ref().is_some_and(|body| body.get("spec").is_some())
}

fn undo(call: &Call) -> Option<&Value> {
    call.body.as_ref()?.pointer(UNDO)
}

/// Counts what the server did, not what was tried.
pub fn spec_writes(records: &[Record], name: &str) -> SpecWrites {
    let done: Vec<Exchange> = records.iter().flat_map(Record::all).filter(Exchange::was_applied).collect();
    let count = |is: fn(&Call, &str) -> bool| done.iter().filter(|exchange| is(&exchange.call, name)).count();
    SpecWrites { applied: count(is_apply), returned: count(is_return) }
}
