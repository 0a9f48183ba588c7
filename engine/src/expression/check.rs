//! What an expression must satisfy before it is accepted.
//!
//! One pass over the parsed tree infers the kind of every part and rejects, on the way, what
//! would surprise (a truncating division, a misspelt signal) and what could run for long (deep
//! comprehensions, a regular expression compiled in a loop). A kind that cannot be known is
//! accepted; in an `object` most kinds cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators as op};
use cel::parser::{ParseErrors, PrattParser};

use super::error::ExpressionError;
use super::kind::{FUNCTIONS, Kind, TYPES, binary, symbol, unary};
use super::tree::{children, depth, is_test, path, root};
use super::value::Part;
use super::{FieldKind, ObjectScope, SignalShape, evaluate};

/// Length of an expression in bytes, the same as in the CRD.
pub(super) const MAX_BYTES: usize = 1024;
/// Levels of the parsed tree. Evaluation recurses and takes up to 40 kB of stack per level in a
/// debug build; an overflow would abort the process.
pub(super) const MAX_DEPTH: usize = 32;
/// The maximum depth of nested comprehensions.
pub(super) const MAX_NESTING: usize = 2;
/// The maximum number of elements of a literal list or entries of a literal map.
pub(super) const MAX_ELEMENTS: usize = 64;

const SIGNALS: &str = "signals";
const OBJECT: &str = "object";
const HEALTHY: &str = "healthy";

/// An accepted expression, and what is known about it. Its text is its identity.
pub(super) struct Checked {
    pub source: String,
    pub tree: IdedExpr,
    /// Names of the signals that it reads.
    pub signals: BTreeSet<String>,
    /// All parts of them that it reads.
    pub reads: BTreeSet<SignalRead>,
    /// What it reads of the object.
    pub object: Part,
    pub has_comprehension: bool,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Checked {}

/// A value of a signal that an expression reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SignalRead {
    pub signal: String,
    pub field: String,
    /// The key, for a field that has one value per key.
    pub key: Option<String>,
    /// Int, Double or Boolean.
    pub kind: Kind,
}

impl fmt::Display for SignalRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signals.{}.{}", self.signal, self.field)?;
        match &self.key {
            Some(key) => write!(f, "[{key:?}]"),
            None => Ok(()),
        }
    }
}

/// The variables that an expression may use.
#[derive(Clone, Copy)]
pub(super) enum Scope<'a> {
    Signals(&'a BTreeMap<String, SignalShape>),
    Object(ObjectScope),
}

impl Scope<'_> {
    fn variables(self) -> &'static [(&'static str, Kind)] {
        match self {
            Self::Signals(_) => &[(SIGNALS, Kind::Map)],
            Self::Object(ObjectScope::Object) => &[(OBJECT, Kind::Map)],
            Self::Object(ObjectScope::ObjectAndHealthy) => &[(OBJECT, Kind::Map), (HEALTHY, Kind::Boolean)],
        }
    }
}

/// Parses an expression and checks everything that can be checked without evaluating it.
pub(super) fn check(source: &str, scope: Scope<'_>) -> Result<Checked, ExpressionError> {
    if source.len() > MAX_BYTES {
        return Err(ExpressionError::TooLong(source.len()));
    }
    // Not `Env::compile`: in a debug build its parser overflows a stack of 2 MiB, and so aborts
    // the process, at ten parentheses inside each other.
    let tree = PrattParser::new().parse(source).map_err(first_error)?;
    if depth(&tree) > MAX_DEPTH {
        return Err(ExpressionError::TooDeep);
    }
    let mut checker = Checker {
        scope,
        elements: Vec::new(),
        nesting: 0,
        comprehensions: 0,
        reads: BTreeSet::new(),
        object: Part::Nothing,
    };
    let kind = checker.kind(&tree)?;
    if !kind.may_be(Kind::Boolean) {
        return Err(ExpressionError::NotBoolean(kind));
    }
    Ok(Checked {
        source: source.to_owned(),
        tree,
        signals: checker.reads.iter().map(|read| read.signal.clone()).collect(),
        reads: checker.reads,
        object: checker.object,
        has_comprehension: checker.comprehensions > 0,
    })
}

fn first_error(errors: ParseErrors) -> ExpressionError {
    let Some(error) = errors.errors.first() else {
        return unparsable();
    };
    let message = error.msg.lines().next().unwrap_or_default();
    let message = message.trim_start_matches("Syntax error: ").to_owned();
    ExpressionError::Syntax(error.pos.0.max(1), error.pos.1.max(1), message)
}

fn unparsable() -> ExpressionError {
    ExpressionError::Syntax(1, 1, "it cannot be parsed".to_owned())
}

struct Checker<'a> {
    scope: Scope<'a>,
    /// Variables of the comprehensions around the current part, innermost last.
    elements: Vec<(String, Kind)>,
    nesting: usize,
    comprehensions: usize,
    reads: BTreeSet<SignalRead>,
    object: Part,
}

impl Checker<'_> {
    fn kind(&mut self, node: &IdedExpr) -> Result<Kind, ExpressionError> {
        if let Scope::Signals(declared) = self.scope
            && root(node) == Some(SIGNALS)
        {
            return self.signal(node, declared);
        }
        if let (Scope::Object(_), Some([OBJECT, fields @ ..])) = (self.scope, path(node).as_deref()) {
            self.object.add(fields);
            return Ok(match node.expr {
                Expr::Ident(_) => Kind::Map,
                _ if is_test(node) => Kind::Boolean,
                _ => Kind::Any,
            });
        }
        match &node.expr {
            Expr::Literal(literal) => Ok(literal.into()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => match self.kind(&select.operand)? {
                Kind::Map | Kind::Any if select.test => Ok(Kind::Boolean),
                Kind::Map | Kind::Any => Ok(Kind::Any),
                other => Err(operands(&format!(".{}", select.field), &[other])),
            },
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                self.written_out(list.elements.len(), node)?;
                Ok(Kind::List)
            }
            Expr::Map(map) => {
                self.written_out(map.entries.len(), node)?;
                Ok(Kind::Map)
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(message) => Err(self.unknown(&message.type_name)),
            Expr::Unspecified => Err(unparsable()),
        }
    }

    fn kinds<'n>(
        &mut self,
        nodes: impl IntoIterator<Item = &'n IdedExpr>,
    ) -> Result<Vec<Kind>, ExpressionError> {
        nodes.into_iter().map(|node| self.kind(node)).collect()
    }

    fn written_out(&mut self, count: usize, node: &IdedExpr) -> Result<(), ExpressionError> {
        if count > MAX_ELEMENTS {
            return Err(ExpressionError::TooManyElements(count));
        }
        self.kinds(children(node)).map(drop)
    }

    fn variable(&self, name: &str) -> Result<Kind, ExpressionError> {
        let elements = self.elements.iter().rev().map(|(name, kind)| (name.as_str(), *kind));
        let types = TYPES.map(|name| (name, Kind::Any));
        let mut variables = elements.chain(self.scope.variables().iter().copied()).chain(types);
        let found = variables.find_map(|(known, kind)| (known == name).then_some(kind));
        found.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> ExpressionError {
        let elements = self.elements.iter().map(|(name, _)| name.as_str());
        let variables = self.scope.variables().iter().map(|(name, _)| *name);
        let known = variables.chain(elements).filter(|name| !name.starts_with('@'));
        ExpressionError::UnknownVariable(name.to_owned(), join(known))
    }

    /// The value of a signal. Nothing else may be done with `signals`, so that what an
    /// expression reads is known before it runs.
    fn signal(
        &mut self,
        node: &IdedExpr,
        declared: &BTreeMap<String, SignalShape>,
    ) -> Result<Kind, ExpressionError> {
        if is_test(node) {
            return Err(ExpressionError::HasOnSignals);
        }
        let path = path(node).ok_or(ExpressionError::NotAField)?;
        let [_, signal, field, key @ ..] = path.as_slice() else {
            return Err(ExpressionError::NotAField);
        };
        let (signal, field) = ((*signal).to_owned(), (*field).to_owned());
        let Some(shape) = declared.get(&signal) else {
            return Err(ExpressionError::UnknownSignal(signal, join(declared.keys())));
        };
        let kind = match (shape.fields.get(field.as_str()), key) {
            (Some(FieldKind::Int), []) | (Some(FieldKind::IntMap), [_]) => Kind::Int,
            (Some(FieldKind::Double), []) => Kind::Double,
            (Some(FieldKind::Boolean), []) => Kind::Boolean,
            (Some(FieldKind::IntMap), []) => return Err(ExpressionError::NeedsKey(signal, field)),
            (Some(_), _) => return Err(ExpressionError::TakesNoKey(signal, field)),
            (None, _) => {
                let fields = join(shape.fields.keys());
                return Err(ExpressionError::UnknownField(signal, field, fields));
            }
        };
        let key = key.first().map(|key| (*key).to_owned());
        self.reads.insert(SignalRead { signal, field, key, kind });
        Ok(kind)
    }

    fn call(&mut self, call: &CallExpr) -> Result<Kind, ExpressionError> {
        let name = call.func_name.as_str();
        let target = call.target.as_deref().map(|target| self.kind(target)).transpose()?;
        let kinds = self.kinds(&call.args)?;
        if let Some(function) = FUNCTIONS.iter().find(|function| {
            function.name == name
                && function.on_value == target.is_some()
                && function.arguments == kinds.len()
        }) {
            if name == "matches" {
                self.pattern(call.args.last())?;
            }
            return Ok(function.gives);
        }
        let result = match (target, kinds.as_slice()) {
            (None, &[condition, yes, no]) if name == op::CONDITIONAL => {
                condition.may_be(Kind::Boolean).then_some(if yes == no { yes } else { Kind::Any })
            }
            (None, &[left, right]) if is_operator(name) => {
                self.division(name, left, right)?;
                binary(name, left, right)
            }
            (None, &[operand]) if is_operator(name) => unary(name, operand),
            _ => return Err(unknown_function(name, target.is_some(), kinds.len())),
        };
        result.ok_or_else(|| operands(symbol(name), &kinds))
    }

    /// Between integers, `/` and `%` rarely compute what was meant.
    fn division(&self, operator: &str, left: Kind, right: Kind) -> Result<(), ExpressionError> {
        let truncates = match self.scope {
            Scope::Signals(_) => left != Kind::Double && right != Kind::Double,
            Scope::Object(_) => left.is_integer() && right.is_integer(),
        };
        if truncates && matches!(operator, op::DIVIDE | op::MODULO) {
            return Err(ExpressionError::IntegerDivision(symbol(operator).to_owned()));
        }
        Ok(())
    }

    /// CEL compiles the pattern at every call, which takes up to tens of milliseconds.
    fn pattern(&self, pattern: Option<&IdedExpr>) -> Result<(), ExpressionError> {
        match pattern {
            Some(node @ IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. })
                if self.nesting == 0 && !text.inner().contains('{') =>
            {
                let valid = evaluate::is_pattern(node).then_some(());
                valid.ok_or_else(|| ExpressionError::BadPattern(text.inner().to_owned()))
            }
            _ => Err(ExpressionError::SlowPattern),
        }
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Result<Kind, ExpressionError> {
        let before = self.comprehensions;
        let range = self.kind(&it.iter_range)?;
        let is_written_out = matches!(it.iter_range.expr, Expr::List(_) | Expr::Map(_));
        if self.comprehensions > before || !(is_written_out || root(&it.iter_range).is_some()) {
            return Err(ExpressionError::ComputedRange);
        }
        if !matches!(range, Kind::List | Kind::Map | Kind::Any) {
            return Err(operands("all, exists, map or filter", &[range]));
        }
        if self.scope.variables().iter().any(|(name, _)| *name == it.iter_var) {
            return Err(ExpressionError::NameTaken(it.iter_var.clone()));
        }
        if self.nesting == MAX_NESTING {
            return Err(ExpressionError::TooManyNested);
        }
        let result = self.kind(&it.accu_init)?;
        let around = self.elements.len();
        self.elements.push((it.iter_var.clone(), Kind::Any));
        self.elements.extend(it.iter_var2.iter().map(|name| (name.clone(), Kind::Any)));
        self.elements.push((it.accu_var.clone(), result));
        self.comprehensions += 1;
        self.nesting += 1;
        self.kind(&it.loop_cond)?;
        self.kind(&it.loop_step)?;
        let kind = self.kind(&it.result)?;
        self.nesting -= 1;
        self.elements.truncate(around);
        Ok(kind)
    }
}

/// Operators have names that no function can have, such as `_+_` and `@in`.
fn is_operator(name: &str) -> bool {
    name.contains(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
}

fn operands(operator: &str, kinds: &[Kind]) -> ExpressionError {
    let kinds: Vec<String> = kinds.iter().map(Kind::to_string).collect();
    ExpressionError::Operands(operator.to_owned(), kinds.join(" and "))
}

fn unknown_function(name: &str, on_value: bool, arguments: usize) -> ExpressionError {
    let written = |name: &str, on_value: bool, arguments: usize| {
        let target = if on_value { "x." } else { "" };
        format!("{target}{name}({})", vec!["_"; arguments].join(", "))
    };
    let known = FUNCTIONS.iter().map(|it| written(it.name, it.on_value, it.arguments));
    let macros = ["all", "exists", "exists_one", "map", "filter"].map(|it| written(it, true, 2));
    let known = known.chain([written("has", false, 1)]).chain(macros);
    ExpressionError::UnknownFunction(written(name, on_value, arguments), join(known))
}

fn join(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
