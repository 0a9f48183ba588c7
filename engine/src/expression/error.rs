//! Why an expression is rejected.

use super::check::{MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, MAX_NESTING};
use super::kind::Kind;

/// Why an expression is rejected: one line that says what is wrong and what to do. It follows
/// the name of the field that contains the expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Length in bytes.
    #[error("has {0} bytes, at most {MAX_BYTES} are allowed; make it shorter")]
    TooLong(usize),
    /// Line, column and the message of the parser.
    #[error("is not CEL: line {0}, column {1}: {2}")]
    Syntax(isize, isize, String),
    /// The parsed tree has too many levels.
    #[error("is nested more than {MAX_DEPTH} levels deep; make it simpler")]
    TooDeep,
    /// Name, and the names that exist.
    #[error("`{0}` does not exist here; use one of: {1}")]
    UnknownVariable(String, String),
    /// Call as it was written, and the calls that exist.
    #[error("the function `{0}` does not exist; use one of: {1}")]
    UnknownFunction(String, String),
    /// Name of the signal, and the declared names.
    #[error("signals.{0} is not declared; the policy declares: {1}")]
    UnknownSignal(String, String),
    /// Signal, field, and the fields that the signal has.
    #[error("signals.{0} has no field {1}; it has: {2}")]
    UnknownField(String, String, String),
    /// `signals` in any form except a field of a signal.
    #[error("signals can only be read as signals.<name>.<field>; write out the names")]
    NotAField,
    /// Signal and field that is used without a key.
    #[error("signals.{0}.{1} has one value per key; write signals.{0}.{1}[\"<key>\"]")]
    NeedsKey(String, String),
    /// Signal and field that is used with a key.
    #[error("signals.{0}.{1} is a number; remove what follows it")]
    TakesNoKey(String, String),
    /// `has()` on signals.
    #[error("has() does not work on signals; remove it: a missing value is already Unknown")]
    HasOnSignals,
    /// Operator between integers.
    #[error("`{0}` on Ints truncates; multiply instead, or convert both with double()")]
    IntegerDivision(String),
    /// Operator or function, and the kinds that it is used on.
    #[error("`{0}` does not work on {1}; convert with int(), double() or string()")]
    Operands(String, String),
    /// Too many nested comprehensions.
    #[error("nests more than {MAX_NESTING} of all, exists, map and filter")]
    TooManyNested,
    /// A comprehension over something that is computed.
    #[error("all, exists, map and filter only work on a field or on a literal list")]
    ComputedRange,
    /// Name of a comprehension's variable that hides another one.
    #[error("the name `{0}` is already used; choose another one for the elements")]
    NameTaken(String),
    /// Number of elements.
    #[error("has a list of {0} elements, at most {MAX_ELEMENTS} are allowed")]
    TooManyElements(usize),
    /// `matches()` in a form that could be slow.
    #[error(
        "matches() needs a literal pattern without {{}}, and does not work inside all, exists, map and \
         filter; use contains, startsWith or endsWith there"
    )]
    SlowPattern,
    /// The pattern of `matches()`.
    #[error("matches() cannot use the pattern {0:?}; correct it or make it simpler")]
    BadPattern(String),
    /// The kind that it has instead of Boolean.
    #[error("must be a Boolean, but is {0}")]
    NotBoolean(Kind),
    /// Number that all values were set to, and what happened.
    #[error("does not work when all signal values are {0}: {1}; guard that part")]
    Fails(i32, String),
}
