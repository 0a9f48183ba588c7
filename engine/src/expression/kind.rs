//! What can be known about a value before evaluation, and the results of operators and functions
//! on it. These are CEL's own rules, checked early and with shorter messages; where they are stricter
//! (comparing an Int with a String is an error, not False), the purpose is to catch slips.

use std::fmt;

use cel::Value;
use cel::common::ast::{LiteralValue, operators as op};

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A truth.
    Boolean,
    /// A signed integer.
    Int,
    /// An unsigned integer, only from a literal or `uint()`.
    UInt,
    /// A floating point number.
    Double,
    /// A text.
    String,
    /// A list of anything.
    List,
    /// A map of anything.
    Map,
    /// Not known, or none of the others.
    Any,
}

impl Kind {
    /// The kind that CEL calls by this name.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "bool" => Self::Boolean,
            "int" => Self::Int,
            "uint" => Self::UInt,
            "double" => Self::Double,
            "string" => Self::String,
            "list" => Self::List,
            "map" => Self::Map,
            _ => Self::Any,
        }
    }

    /// Whether a value of this kind can be used where the other kind is needed.
    pub(super) fn may_be(self, other: Self) -> bool {
        self == other || self == Self::Any
    }

    pub(super) fn is_integer(self) -> bool {
        matches!(self, Self::Int | Self::UInt)
    }

    fn is_number(self) -> bool {
        self.is_integer() || self == Self::Double
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("something else"),
            known => fmt::Debug::fmt(known, f),
        }
    }
}

impl From<&LiteralValue> for Kind {
    fn from(literal: &LiteralValue) -> Self {
        match literal {
            LiteralValue::Boolean(_) => Self::Boolean,
            LiteralValue::Int(_) => Self::Int,
            LiteralValue::UInt(_) => Self::UInt,
            LiteralValue::Double(_) => Self::Double,
            LiteralValue::String(_) => Self::String,
            LiteralValue::Bytes(_) | LiteralValue::Null => Self::Any,
        }
    }
}

impl From<&Value> for Kind {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(_) => Self::Boolean,
            Value::Int(_) => Self::Int,
            Value::UInt(_) => Self::UInt,
            Value::Float(_) => Self::Double,
            Value::String(_) => Self::String,
            Value::List(_) => Self::List,
            Value::Map(_) => Self::Map,
            _ => Self::Any,
        }
    }
}

/// The result of a binary operator; none if it does not work on these operands.
pub(super) fn binary(operator: &str, left: Kind, right: Kind) -> Option<Kind> {
    use Kind::{Any, Boolean, Double, Int, List, Map, String, UInt};
    let same = |allowed: &[Kind]| {
        let kind = if left == Any { right } else { left };
        (right.may_be(kind) && (kind == Any || allowed.contains(&kind))).then_some(kind)
    };
    let comparable = left == Any || right.may_be(left) || left.is_number() && right.is_number();
    let ordered = ![left, right].iter().any(|kind| matches!(kind, List | Map));
    match operator {
        op::ADD => same(&[Int, UInt, Double, String, List]),
        op::SUBSTRACT | op::MULTIPLY | op::DIVIDE => same(&[Int, UInt, Double]),
        op::MODULO => same(&[Int, UInt]),
        op::EQUALS | op::NOT_EQUALS => comparable.then_some(Boolean),
        op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
            (comparable && ordered).then_some(Boolean)
        }
        op::LOGICAL_AND | op::LOGICAL_OR => {
            (left.may_be(Boolean) && right.may_be(Boolean)).then_some(Boolean)
        }
        op::IN => matches!(right, List | Map | Any).then_some(Boolean),
        op::INDEX => matches!(left, List | Map | Any).then_some(Any),
        _ => None,
    }
}

/// The result of a unary operator; none if it does not work on this operand.
pub(super) fn unary(operator: &str, operand: Kind) -> Option<Kind> {
    match operator {
        op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE => operand.may_be(Kind::Boolean).then_some(Kind::Boolean),
        op::NEGATE => matches!(operand, Kind::Int | Kind::Double | Kind::Any).then_some(operand),
        _ => None,
    }
}

/// An operator as it is written.
pub(super) fn symbol(operator: &str) -> &str {
    operator.trim_matches(['_', '@'])
}

/// A function of CEL's standard library.
pub(super) struct Function {
    pub name: &'static str,
    /// Called on a value, `x.f()`.
    pub on_value: bool,
    pub arguments: usize,
    pub gives: Kind,
}

const fn on_value(name: &'static str, arguments: usize, gives: Kind) -> Function {
    Function { name, on_value: true, arguments, gives }
}

const fn of(name: &'static str, gives: Kind) -> Function {
    Function { name, on_value: false, arguments: 1, gives }
}

/// The whole standard library except the optional and time functions.
pub(super) const FUNCTIONS: [Function; 15] = [
    of("size", Kind::Int),
    of("int", Kind::Int),
    of("uint", Kind::UInt),
    of("double", Kind::Double),
    of("string", Kind::String),
    of("bool", Kind::Boolean),
    of("bytes", Kind::Any),
    of("dyn", Kind::Any),
    of("type", Kind::Any),
    on_value("size", 0, Kind::Int),
    on_value("contains", 1, Kind::Boolean),
    on_value("startsWith", 1, Kind::Boolean),
    on_value("endsWith", 1, Kind::Boolean),
    on_value("matches", 1, Kind::Boolean),
    Function { name: "matches", on_value: false, arguments: 2, gives: Kind::Boolean },
];

/// Names of types, to compare with `type(x)`.
pub(super) const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
