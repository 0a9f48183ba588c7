use proptest::prelude::*;
use serde_json::json;

use super::FieldKind::{Boolean, Double, Int, IntMap};
use super::*;
use crate::verdict::Verdict::{False, True, Unknown};

fn declared() -> BTreeMap<String, SignalShape> {
    let shape =
        |fields: &[(&'static str, FieldKind)]| SignalShape { fields: fields.iter().copied().collect() };
    let gpu_nodes = shape(&[
        ("allocatable", IntMap),
        ("expected", Int),
        ("known", Boolean),
        ("ready", Int),
        ("readyRatio", Double),
    ]);
    let models = shape(&[
        ("healthy", Int),
        ("unhealthy", Int),
        ("unknown", Int),
        ("total", Int),
        ("expected", Int),
        ("healthyRatio", Double),
    ]);
    [("gpuNodes".to_owned(), gpu_nodes), ("models".to_owned(), models)].into()
}

/// Only `gpuNodes` is known, and of it only what does not end in `missing` below.
fn readings() -> Readings {
    let gpu_nodes = [
        ("ready".to_owned(), FieldValue::Int(3)),
        ("expected".to_owned(), FieldValue::Int(8)),
        ("allocatable".to_owned(), FieldValue::Map([("nvidia.com/gpu".to_owned(), 24)].into())),
    ];
    [("gpuNodes".to_owned(), gpu_nodes.into())].into()
}

fn condition(source: &str) -> Condition {
    Condition::parse(source, &declared()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn evaluate(source: &str) -> Evaluation {
    condition(source).evaluate(&readings())
}

fn refusal(source: &str) -> String {
    Condition::parse(source, &declared()).expect_err(source).to_string()
}

fn object_refusal(source: &str) -> String {
    ObjectCondition::parse(source, ObjectScope::Object).expect_err(source).to_string()
}

fn evaluate_object(source: &str, object: &serde_json::Value) -> Evaluation {
    evaluate_where(source, object, None)
}

fn evaluate_where(source: &str, object: &serde_json::Value, healthy: Option<Verdict>) -> Evaluation {
    ObjectCondition::parse(source, ObjectScope::ObjectAndHealthy)
        .unwrap_or_else(|error| panic!("{source}: {error}"))
        .evaluate(object, healthy)
}

#[test]
fn a_boolean_result_is_that_truth() {
    assert_eq!(evaluate("signals.gpuNodes.ready * 2 <= signals.gpuNodes.expected").verdict, True);
    assert_eq!(evaluate("signals.gpuNodes.ready == signals.gpuNodes.expected").verdict, False);
    assert_eq!(evaluate("signals.gpuNodes.allocatable['nvidia.com/gpu'] == 24").verdict, True);
    assert_eq!(evaluate("true"), Evaluation::known(true));
}

#[test]
fn a_missing_signal_field_or_key_is_unknown_and_named() {
    for (source, why) in [
        ("signals.models.unhealthy > 0", "signals.models.unhealthy has no value"),
        ("signals.gpuNodes.readyRatio < 0.5", "signals.gpuNodes.readyRatio has no value"),
        (
            "signals.gpuNodes.allocatable['amd.com/gpu'] == 0",
            "signals.gpuNodes.allocatable[\"amd.com/gpu\"] has no value",
        ),
        ("signals.gpuNodes.allocatable.cpu == 0", "signals.gpuNodes.allocatable[\"cpu\"] has no value"),
        ("signals.gpuNodes.ready == 3 && signals.models.healthy == 0", "signals.models.healthy has no value"),
    ] {
        assert_eq!(evaluate(source), Evaluation::missing(why.to_owned()), "{source}");
    }
}

#[test]
fn not_a_number_is_a_missing_value() {
    let mut readings = readings();
    let fields = readings.get_mut("gpuNodes").unwrap();
    fields.insert("readyRatio".to_owned(), FieldValue::Double(f64::NAN));
    let evaluation = condition("signals.gpuNodes.readyRatio < 0.5").evaluate(&readings);
    let why = "signals.gpuNodes.readyRatio has no value";
    assert_eq!(evaluation, Evaluation::missing(why.to_owned()));
}

#[test]
fn a_known_operand_decides_beside_an_unknown_one_in_both_orders() {
    const UNKNOWN: &str = "signals.models.healthy == 1";
    for (operands, and, or) in [
        (["true", UNKNOWN], Unknown, True),
        (["false", UNKNOWN], False, Unknown),
        ([UNKNOWN, UNKNOWN], Unknown, Unknown),
    ] {
        for [a, b] in [operands, [operands[1], operands[0]]] {
            assert_eq!(evaluate(&format!("{a} && {b}")).verdict, and, "{a} && {b}");
            assert_eq!(evaluate(&format!("{a} || {b}")).verdict, or, "{a} || {b}");
        }
    }
    assert_eq!(evaluate(&format!("!({UNKNOWN})")).verdict, Unknown);
    assert_eq!(evaluate(&format!("{UNKNOWN} ? true : true")).verdict, Unknown);
    assert_eq!(evaluate(&format!("true ? false : {UNKNOWN}")).verdict, False);
    assert_eq!(evaluate(&format!("[1, 2].exists(n, {UNKNOWN} || n == 2)")).verdict, True);
}

/// A Boolean expression over three signals, of which the third has no value, with its truth.
fn logic() -> impl Strategy<Value = (String, Verdict)> {
    let leaf = prop_oneof![
        Just(("signals.gpuNodes.ready == 3".to_owned(), True)),
        Just(("signals.gpuNodes.expected == 3".to_owned(), False)),
        Just(("signals.models.healthy == 3".to_owned(), Unknown)),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        let triple = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|(a, x)| (format!("!({a})"), !x)),
            pair.clone().prop_map(|((a, x), (b, y))| (format!("(({a}) && ({b}))"), x.and(y))),
            pair.prop_map(|((a, x), (b, y))| (format!("(({a}) || ({b}))"), x.or(y))),
            triple.prop_map(|((a, x), (b, y), (c, z))| {
                let chosen = x.known().map_or(Unknown, |x| if x { y } else { z });
                (format!("(({a}) ? ({b}) : ({c}))"), chosen)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn logic_is_that_of_verdicts((source, verdict) in logic()) {
        prop_assume!(source.len() <= 1024);
        let evaluation = evaluate(&source);
        prop_assert_eq!(evaluation.verdict, verdict, "{}", source);
        prop_assert_eq!(evaluation.why.is_some(), verdict == Unknown);
        prop_assert!(!evaluation.rule_error);
    }
}

#[test]
fn what_fails_for_another_reason_than_missing_data_is_a_rule_error() {
    let overflow = condition("signals.gpuNodes.ready * signals.gpuNodes.expected > 0");
    let mut readings = readings();
    for value in readings.get_mut("gpuNodes").unwrap().values_mut() {
        *value = FieldValue::Int(i64::MAX);
    }
    let evaluation = overflow.evaluate(&readings);
    assert_eq!(evaluation, Evaluation::failed("the result of `mul` is too large".to_owned()));

    let lookup = "signals.gpuNodes.ready == 3 \
                  ? {'a': 1}[string(signals.gpuNodes.ready)] == 1 \
                  : signals.models.healthy == 1";
    let no_such_key = Evaluation::failed("the map has no such key".to_owned());
    assert_eq!(evaluate(lookup), no_such_key);

    let object = json!({"spec": {"replicas": 3, "paused": true, "images": []}});
    for (source, why) in [
        ("object.spec.replicas + 'x' == 'x'", "`add` does not work on Int and String"),
        ("object.spec.replicas < object.spec.paused", "`<` does not work on Int and Boolean"),
        ("object.spec.replicas", "must be a Boolean, but is Int"),
        ("object.spec.replicas / 0 == 1", "division by zero"),
        ("object.spec.images[0] == 'x'", "the list has no element with this index"),
        ("int(object.spec.paused) == 1", "`int` does not work on Boolean"),
        ("object.spec.paused.all(x, true)", "Boolean cannot be used here"),
    ] {
        assert_eq!(evaluate_object(source, &object), Evaluation::failed(why.to_owned()), "{source}");
    }
}

#[test]
fn a_field_that_an_object_lacks_is_unknown_unless_has_asks_for_it() {
    let object = json!({"metadata": {"labels": {}}, "status": {}});
    let missing = Evaluation::missing("the object has no phase".to_owned());
    assert_eq!(evaluate_object("object.status.phase == 'Ready'", &object), missing);
    let guarded = "has(object.status.phase) && object.status.phase == 'Ready'";
    assert_eq!(evaluate_object(guarded, &object).verdict, False);
    assert_eq!(evaluate_object("object.metadata.labels['tier'] == 'a'", &object).verdict, Unknown);
    assert_eq!(evaluate_object("'tier' in object.metadata.labels", &object).verdict, False);
}

#[test]
fn healthy_is_three_valued_too() {
    let object = json!({"spec": {"critical": true}});
    for healthy in [True, False, Unknown] {
        assert_eq!(evaluate_where("!healthy", &object, Some(healthy)).verdict, !healthy);
    }
    let unknown = Evaluation::missing("healthy is Unknown".to_owned());
    assert_eq!(evaluate_where("!healthy", &object, Some(Unknown)), unknown);
    assert_eq!(evaluate_where("!healthy", &object, None), unknown);
    for source in ["!healthy || object.spec.critical", "object.spec.critical || !healthy"] {
        assert_eq!(evaluate_where(source, &object, Some(Unknown)).verdict, True, "{source}");
    }
    assert_eq!(object_refusal("!healthy"), "`healthy` does not exist here; use one of: object");
}

#[test]
fn integers_of_an_object_are_ints_at_every_level() {
    let object = json!({"a": 3, "b": [{"c": 5}], "big": u64::MAX, "ratio": 0.5});
    for source in [
        "object.a + 1 == 4",
        "object.a - 5 == -2",
        "object.b[0].c * 2 == 10",
        "object.b.all(b, b.c - 6 == -1)",
        "type(object.a) == int",
        "object.big > 9223372036854775807.0",
        "object.ratio == 0.5",
        "object.a / 2 == 1",
    ] {
        assert_eq!(evaluate_object(source, &object).verdict, True, "{source}");
    }
}

#[test]
fn objects_with_long_lists_are_unknown_to_expressions_that_read_them() {
    let object = |items: usize| json!({"spec": {"hosts": vec!["a"; items]}});
    let source = "object.spec.hosts.all(host, host == 'a')";
    assert_eq!(evaluate_object(source, &object(256)).verdict, True);
    let why = "object.spec.hosts has 257 items, more than 256";
    assert_eq!(evaluate_object(source, &object(257)), Evaluation::missing(why.to_owned()));
    assert_eq!(evaluate_where("!healthy", &object(257), Some(False)).verdict, True);
}

#[test]
fn only_the_part_of_an_object_that_is_read_is_looked_at() {
    use value::Part::{Fields, Nothing, Whole};
    let part = |source: &str| {
        let condition = ObjectCondition::parse(source, ObjectScope::ObjectAndHealthy).unwrap();
        format!("{:?}", condition.0.object)
    };
    let phase = || Fields([("phase".to_owned(), Whole)].into());
    let status = Fields([("status".to_owned(), phase())].into());
    let guarded = "has(object.status.phase) && object.status.phase == 'Ready'";
    assert_eq!(part(guarded), format!("{status:?}"));
    assert_eq!(part("!healthy"), format!("{Nothing:?}"));
    for source in ["size(object) > 0", "object['a'].b", "object.a.b || object == {}"] {
        assert_eq!(part(source), format!("{Whole:?}"), "{source}");
    }
    for source in ["object.a.all(a, a)", "object.a.b || size(object.a) > 1", "object.a[0].b.c"] {
        let a = Fields([("a".to_owned(), Whole)].into());
        assert_eq!(part(source), format!("{a:?}"), "{source}");
    }
    let object = json!({"a": {"b": true, "list": vec![0; 300]}, "list": vec![0; 300]});
    assert_eq!(evaluate_object("object.a.b", &object).verdict, True);
    assert_eq!(evaluate_object("size(object.a) == 2", &object).verdict, Unknown);
    let labels = json!({"a": {"b": {"c/d": true}}, "list": vec![0; 300]});
    assert_eq!(evaluate_object("object.a.b['c/d']", &labels).verdict, True);
}

#[test]
fn long_maps_are_unknown_only_to_comprehensions() {
    let entries = (0..300).map(|i| (i.to_string(), json!("x")));
    let object = json!({"data": serde_json::Map::from_iter(entries)});
    assert_eq!(evaluate_object("object.data['7'] == 'x'", &object).verdict, True);
    assert_eq!(evaluate_object("object.data.all(key, key != '')", &object).verdict, Unknown);
}

#[test]
fn reasons_do_not_show_values_of_the_object() {
    let object = json!({"data": {"password": "hunter2", "n": 1}});
    for source in [
        "object.data.password + 1 == 2",
        "object.data.password < 1",
        "object.data < object.data",
        "int(object.data.password) == 1",
        "object.data[object.data.password] == 1",
        "object.data.password.x == 1",
        "object.data.n[object.data.password] == 1",
    ] {
        let evaluation = evaluate_object(source, &object);
        assert_eq!(evaluation.verdict, Unknown, "{source}");
        assert!(!evaluation.why.unwrap().contains("hunter2"), "{source}");
    }
}

#[test]
fn signals_are_only_read_as_declared_fields() {
    const FORM: &str = "signals can only be read as signals.<name>.<field>; write out the names";
    const HAS: &str = "has() does not work on signals; remove it: a missing value is already Unknown";
    for (source, why) in [
        (
            "signals.gpuNode.ready == 0",
            "signals.gpuNode is not declared; the policy declares: gpuNodes, models",
        ),
        (
            "signals.models.redy == 0",
            "signals.models has no field redy; it has: expected, healthy, healthyRatio, total, unhealthy, unknown",
        ),
        ("signals == signals", FORM),
        ("signals.gpuNodes == {}", FORM),
        ("signals['gpuNodes'].ready == 0", FORM),
        ("signals.gpuNodes['ready'] == 0", FORM),
        ("signals[string(1)].ready == 0", FORM),
        ("signals.gpuNodes.allocatable[string(1)] == 0", FORM),
        ("signals.all(name, true)", FORM),
        ("signals.gpuNodes.all(field, true)", FORM),
        ("dyn(signals).gpuNodes.ready == 0", FORM),
        ("size(signals) == 2", FORM),
        ("'gpuNodes' in signals", FORM),
        ("has(signals.gpuNodes)", HAS),
        ("has(signals.gpuNodes.ready)", HAS),
        ("has(signals.gpuNodes.allocatable.cpu)", HAS),
        (
            "signals.gpuNodes.allocatable.all(name, true)",
            "signals.gpuNodes.allocatable has one value per key; \
             write signals.gpuNodes.allocatable[\"<key>\"]",
        ),
        ("signals.gpuNodes.ready.x == 0", "signals.gpuNodes.ready is a number; remove what follows it"),
        (
            "signals.gpuNodes.ready.all(x, true)",
            "`all, exists, map or filter` does not work on Int; \
             convert with int(), double() or string()",
        ),
        ("object.x == 1", "`object` does not exist here; use one of: signals"),
        ("healthy", "`healthy` does not exist here; use one of: signals"),
        (".signals.gpuNodes.ready == 0", "`.signals` does not exist here; use one of: signals"),
        ("[1].all(signals, true)", "the name `signals` is already used; choose another one for the elements"),
        ("[1].all(n, true) && n == 1", "`n` does not exist here; use one of: signals"),
        ("[1].all(n, m == 1)", "`m` does not exist here; use one of: signals, n"),
    ] {
        assert_eq!(refusal(source), why, "{source}");
    }
    assert_eq!(
        Condition::parse("signals.a.b == 1", &BTreeMap::new()).unwrap_err().to_string(),
        "signals.a is not declared; the policy declares: none"
    );
}

#[test]
fn a_condition_tells_which_signals_it_reads() {
    let both = condition("signals.models.healthy == 0 || signals.gpuNodes.allocatable.cpu == 0");
    assert_eq!(both.reads().iter().collect::<Vec<_>>(), ["gpuNodes", "models"]);
    assert!(condition("true").reads().is_empty());
}

#[test]
fn integers_are_not_divided() {
    for source in [
        "signals.gpuNodes.ready / signals.gpuNodes.expected > 0",
        "signals.gpuNodes.ready / 2 == 1",
        "signals.gpuNodes.ready % 2 == 0",
        "(signals.gpuNodes.ready + 1) / int(2.0) == 1",
        "(true ? signals.gpuNodes.ready : 1) / 2 == 1",
        "[2].exists(two, signals.gpuNodes.ready / two == 1)",
        "dyn(signals.gpuNodes.ready) / dyn(2) == 1",
    ] {
        assert!(refusal(source).contains("on Ints truncates"), "{source}");
    }
    assert!(object_refusal("size(object.x) / 2 == 1").contains("on Ints truncates"));
    let ratio = "double(signals.gpuNodes.ready) / 8.0 < 0.5 && signals.gpuNodes.readyRatio / 2.0 < 1.0";
    assert_eq!(evaluate(ratio).verdict, Unknown);
}

#[test]
fn kinds_that_do_not_fit_are_refused_with_their_names() {
    for (source, operator, kinds) in [
        ("signals.gpuNodes.ready * 0.5 > 1.0", "*", "Int and Double"),
        ("signals.gpuNodes.ready + 'x' == ''", "+", "Int and String"),
        ("signals.gpuNodes.ready == '3'", "==", "Int and String"),
        ("signals.gpuNodes.ready < true", "<", "Int and Boolean"),
        ("signals.gpuNodes.ready && true", "&&", "Int and Boolean"),
        ("!signals.gpuNodes.ready", "!", "Int"),
        ("-'x' == 'x'", "-", "String"),
        ("[] < [1]", "<", "List and List"),
        ("1 in 1", "in", "Int and Int"),
        ("'x'[0] == 'x'", "[_]", "String and Int"),
        ("'x'.length == 1", ".length", "String"),
        ("[1].all(n, 1)", "&&", "Boolean and Int"),
        ("1.5 % 1.0 == 0.5", "%", "Double and Double"),
    ] {
        let why = format!("`{operator}` does not work on {kinds}; convert with int(), double() or string()");
        assert_eq!(refusal(source), why, "{source}");
    }
    assert_eq!(evaluate("signals.gpuNodes.ready < 3.5 && 1 == 1.0").verdict, True);
}

#[test]
fn the_answer_of_has_has_no_fields() {
    let why = object_refusal("has(object.a).b");
    assert!(why.starts_with("`.b` does not work on Boolean"), "{why}");
}

#[test]
fn the_result_must_be_a_boolean() {
    assert_eq!(refusal("signals.gpuNodes.ready"), "must be a Boolean, but is Int");
    assert_eq!(refusal("[signals.gpuNodes.ready][0]"), "must be a Boolean, but is Int");
    assert_eq!(refusal("null"), "must be a Boolean, but is something else");
    assert_eq!(object_refusal("size(object.spec.x)"), "must be a Boolean, but is Int");
}

#[test]
fn a_condition_must_work_on_complete_readings() {
    for (source, why) in [
        (
            "signals.gpuNodes.ready > 9 && dyn('x') > 1",
            "does not work when all signal values are 1000000: \
             `>` does not work on String and Int; guard that part",
        ),
        (
            "signals.gpuNodes.readyRatio / signals.gpuNodes.readyRatio < 1.0",
            "does not work when all signal values are 0: \
             a result is not a number; guard that part",
        ),
        (
            "{'a': 1}[string(signals.gpuNodes.ready)] == 1",
            "does not work when all signal values are 0: the map has no such key; guard that part",
        ),
        (
            "signals.gpuNodes.ready == 1 ? [1][5] == 1 : true",
            "does not work when all signal values are 1: \
             the list has no element with this index; guard that part",
        ),
    ] {
        assert_eq!(refusal(source), why, "{source}");
    }
}

#[test]
fn syntax_errors_are_one_line_with_their_place() {
    for (source, why) in [
        ("", "is not CEL: line 1, column 1: mismatched input '<EOF>' expecting expression"),
        ("true &&\n  )", "is not CEL: line 2, column 3: "),
        ("signals.gpuNodes.?ready == 1", "is not CEL: line 1, column 17: unsupported syntax '.?'"),
        ("[1].all(1, true)", "is not CEL: line 1, column 9: argument must be a simple name"),
        ("has(object)", "is not CEL: line 1, column 5: invalid argument to has() macro"),
        ("Thing{a: 1} == 1", "`Thing` does not exist here; use one of: signals"),
    ] {
        let refusal = refusal(source);
        assert!(refusal.starts_with(why), "{source}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{source}");
    }
}

#[test]
fn functions_that_do_not_exist_are_refused_with_those_that_do() {
    for (source, call) in [
        ("nosuch(1)", "nosuch(_)"),
        ("no_such()", "no_such()"),
        ("'x'.nosuch()", "x.nosuch()"),
        ("size(1, 2) == 1", "size(_, _)"),
        ("'x'.orValue(1)", "x.orValue(_)"),
        ("[1].all(true)", "x.all(_)"),
        ("now() > 1", "now()"),
    ] {
        let refusal = refusal(source);
        let why = format!("the function `{call}` does not exist; use one of: size(_), int(_), ");
        assert!(refusal.starts_with(&why), "{source}: {refusal}");
    }
}

#[test]
fn every_function_that_is_let_through_exists() {
    let kinds = json!({"size": "''", "contains": "''", "startsWith": "''", "endsWith": "''"});
    for function in &kind::FUNCTIONS {
        let argument = if function.name == "matches" { "''" } else { "object.none" };
        let argument = kinds[function.name].as_str().unwrap_or(argument);
        let arguments = vec![argument; function.arguments].join(", ");
        let target = if function.on_value { "''." } else { "" };
        let call = format!("[{target}{}({arguments})] == []", function.name);
        let why = evaluate_object(&call, &json!({})).why.unwrap_or_default();
        assert!(why.is_empty() || why == "the object has no none", "{call}: {why}");
    }
}

#[test]
fn what_could_run_for_long_is_refused() {
    const COMPUTED: &str = "all, exists, map and filter only work on a field or on a literal list";
    let nested = "object.a.all(a, a.all(b, b.all(c, true)))";
    assert!(object_refusal(nested).starts_with("nests more than 2 of all, exists, map and filter"));
    for source in [
        "object.a.map(a, a).all(a, a)",
        "object.a.filter(a, a)[0].all(a, a)",
        "[object.a.map(a, a)].all(a, true)",
        "(object.a + object.a).all(a, a)",
        "(object.a ? object.b : object.c).all(a, a)",
        "dyn(object.a).all(a, a)",
    ] {
        assert_eq!(object_refusal(source), COMPUTED, "{source}");
    }
    let list = |elements: usize| format!("1 in [{}]", vec!["1"; elements].join(", "));
    assert_eq!(evaluate(&list(64)).verdict, True);
    assert_eq!(refusal(&list(65)), "has a list of 65 elements, at most 64 are allowed");

    let long = |bytes: usize| format!("true{}", " ".repeat(bytes - 4));
    assert_eq!(evaluate(&long(1024)).verdict, True);
    assert_eq!(refusal(&long(1025)), "has 1025 bytes, at most 1024 are allowed; make it shorter");

    let two = "object.a.exists(a, a.list.exists(b, b.c == 1)) && object.a.all(a, has(a.list))";
    let object = json!({"a": [{"list": [{"c": 0}, {"c": 1}]}]});
    assert_eq!(evaluate_object(two, &object).verdict, True);
}

#[test]
fn patterns_are_literal_short_to_compile_and_outside_of_loops() {
    let object = json!({"name": "web", "list": ["a"]});
    assert_eq!(evaluate_object("object.name.matches('^w.b$')", &object).verdict, True);
    assert_eq!(evaluate_object("matches(object.name, 'x')", &object).verdict, False);
    for source in [
        "object.name.matches(object.name)",
        "object.name.matches('(a{100}){100}')",
        "object.list.all(name, name.matches('a'))",
    ] {
        assert!(object_refusal(source).starts_with("matches() needs a literal pattern"), "{source}");
    }
    assert!(object_refusal("object.name.matches('(')").starts_with("matches() cannot use"));
    let slow = format!("object.name.matches(r'{}')", r"\w".repeat(400));
    assert!(object_refusal(&slow).starts_with("matches() cannot use"));
}

#[test]
fn hostile_nesting_neither_panics_nor_overflows_a_small_stack() {
    let parts = [
        "(",
        "[",
        "{",
        "!",
        "-",
        "!(",
        "-(",
        "{1:",
        "A{a:",
        "f(",
        "a.",
        "a?",
        "'",
        "\\",
        "[0]",
        ".a",
        "1+",
        "1-",
        "1<",
        "1==",
        "true?true:",
        "true||",
        "true&&",
        "1 in ",
        ".size()",
        ".all(a,a)",
    ];
    let wraps = [
        ("(", ")"),
        ("[", "]"),
        ("!(", ")"),
        ("-(", ")"),
        ("{1:", "}"),
        ("size(", ")"),
        ("[1].all(a,", ")"),
        ("", "[0]"),
        ("", ".a"),
        ("", ".size()"),
        ("", ".all(a,a)"),
        ("!", ""),
        ("-", ""),
        ("1+", ""),
        ("1<", ""),
        ("1 in ", ""),
        ("true||", ""),
    ];
    let open = parts.iter().map(|part| part.repeat(1024 / part.len()));
    let closed = wraps.iter().map(|(left, right)| {
        let times = 1020 / (left.len() + right.len());
        format!("{}true{}", left.repeat(times), right.repeat(times))
    });
    let sources: Vec<String> = open.chain(closed).collect();

    let small = std::thread::Builder::new().stack_size(2 << 20);
    let parsed = small.spawn(move || {
        for source in sources {
            let _ = Condition::parse(&source, &declared());
            let _ = ObjectCondition::parse(&source, ObjectScope::ObjectAndHealthy);
        }
        // The deepest that is accepted can be evaluated.
        let sum = |terms: usize| format!("{} > 0", vec!["1"; terms].join(" + "));
        assert_eq!(evaluate(&sum(31)).verdict, True);
        assert!(refusal(&sum(32)).starts_with("is nested more than 32 levels deep"));
    });
    parsed.unwrap().join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_panics_on_any_tokens(tokens in prop::collection::vec(token(), 0..14)) {
        parse_and_evaluate(&tokens.concat());
    }

    #[test]
    fn nothing_panics_on_any_expression(source in expression()) {
        parse_and_evaluate(&source);
    }
}

fn parse_and_evaluate(source: &str) {
    if let Ok(condition) = Condition::parse(source, &declared()) {
        let _ = condition.evaluate(&readings());
    }
    if let Ok(condition) = ObjectCondition::parse(source, ObjectScope::ObjectAndHealthy) {
        let object = json!({"a": {"b": [1, null, -0.5, "x"]}, "b": [i64::MIN, u64::MAX]});
        let _ = condition.evaluate(&object, Some(True));
        let _ = condition.evaluate(&json!(7), None);
    }
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "signals.gpuNodes.ready",
        "signals.gpuNodes.readyRatio",
        "signals.models.healthy",
        "object.a",
        "object.a.b",
        "object.b[0]",
        "object",
        "healthy",
        "x",
        "0",
        "-1",
        "2u",
        "0.5",
        "1e308",
        "9223372036854775807",
        "'x'",
        "b'x'",
        "null",
        "true",
        "[]",
        "{}",
        "int",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 16, 3, |inner| {
        let binary = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", " in ",
        ]);
        let unary = prop::sample::select(vec![
            "!(?)",
            "-(?)",
            "(?).a",
            "(?)[0]",
            "(?)['a']",
            "[?]",
            "{'a': ?}",
            "{?: 1}",
            "size(?)",
            "int(?)",
            "uint(?)",
            "double(?)",
            "string(?)",
            "bool(?)",
            "bytes(?)",
            "type(?)",
            "dyn(?)",
            "(?).size()",
            "has((?).a)",
            "(?).matches('a')",
            "(?).contains('x')",
        ]);
        let over = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), binary).prop_map(|((a, b), operator)| format!("({a}{operator}{b})")),
            (inner.clone(), unary).prop_map(|(a, around)| around.replace('?', &a)),
            (inner, pair.clone()).prop_map(|(a, (b, c))| format!("({a} ? {b} : {c})")),
            (pair.clone(), over).prop_map(|((a, b), name)| format!("{a}.{name}(x, {b})")),
            pair.prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "signals.gpuNodes.ready",
        "signals.models.healthy",
        "signals.gpuNodes.allocatable['a']",
        "signals",
        "object",
        "object.a.b",
        "healthy",
        ".a",
        ".b",
        "[0]",
        "['a']",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        " in ",
        "1",
        "0",
        "-1",
        "9223372036854775807",
        "2u",
        "0.5",
        "1e999",
        "'x'",
        "b'x'",
        "r'\\'",
        "\"",
        "null",
        "true",
        "false",
        "[1, 2]",
        "{'a': 1}",
        ".all(x, ",
        ".exists(x, ",
        ".exists_one(x, ",
        ".map(x, ",
        ".filter(x, ",
        "x",
        "has(",
        "size(",
        "int(",
        "string(",
        "type(",
        ".matches('a')",
        ".size()",
        ".contains(",
        "é",
        "\u{0}",
        "`",
        "//",
        "\n",
        ".?a",
        "[?0]",
        "A{b: 1}",
        "@result",
        "optional.none()",
    ])
}

#[test]
fn conditions_are_cheap_to_clone_compared_by_text_and_can_cross_threads() {
    fn can_cross_threads<T: Send + Sync + Clone + 'static>(_: &T) {}
    let condition = condition("signals.models.healthy == 0");
    can_cross_threads(&condition);
    assert_eq!(condition, condition.clone());
    assert_ne!(condition, self::condition("signals.models.healthy == 1"));
    assert_eq!(format!("{condition:?}"), "Condition(\"signals.models.healthy == 0\")");
    assert_eq!(condition.source(), "signals.models.healthy == 0");
    let object = ObjectCondition::parse("healthy", ObjectScope::ObjectAndHealthy).unwrap();
    can_cross_threads(&object);
    assert_eq!(object.source(), "healthy");
}

#[test]
fn field_values_are_plain_json() {
    for (value, text) in [
        (FieldValue::Int(2), "2"),
        (FieldValue::Double(2.0), "2.0"),
        (FieldValue::Map([("nvidia.com/gpu".to_owned(), 8)].into()), r#"{"nvidia.com/gpu":8}"#),
    ] {
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
        assert_eq!(serde_json::from_str::<FieldValue>(text).unwrap(), value);
    }
}

/// Objects by their health.
fn judged(healthy: i64, unhealthy: i64, unknown: i64) -> BTreeMap<String, FieldValue> {
    let total = healthy + unhealthy + unknown;
    let counts = [("healthy", healthy), ("unhealthy", unhealthy), ("unknown", unknown), ("total", total)];
    let counts = [&counts[..], &[("expected", 10)]].concat();
    counts.into_iter().map(|(name, count)| (name.to_owned(), FieldValue::Int(count))).collect()
}

#[test]
fn a_truth_that_is_the_same_whatever_the_unknown_are_is_the_truth() {
    let table = [
        ("signals.models.unhealthy > 0", (9, 0, 1), Unknown),
        ("signals.models.unhealthy > 0", (8, 1, 1), True),
        ("signals.models.unhealthy > 0", (9, 0, 0), False),
        ("signals.models.healthyRatio < 0.5", (9, 0, 1), False),
        ("signals.models.healthyRatio < 0.5", (4, 5, 1), Unknown),
        ("signals.models.healthyRatio < 0.5", (3, 6, 1), True),
        ("signals.models.healthyRatio < 0.5", (0, 0, 1), Unknown),
        ("signals.models.healthy * 2 <= signals.models.expected", (5, 0, 1), Unknown),
        ("signals.models.healthy * 2 <= signals.models.expected", (4, 0, 1), True),
        // Only some of the cases in between are True.
        ("signals.models.healthy == 2 || signals.models.healthy == 0", (0, 0, 3), Unknown),
        // It does not depend on the health of any object.
        ("signals.models.total == 10 && signals.models.unknown == 9", (1, 0, 9), True),
        ("signals.models.total == 1001", (1, 0, 1000), True),
        ("signals.models.unhealthy >= 0", (0, 0, 256), True),
        ("signals.models.unhealthy >= 0", (0, 0, 257), Unknown),
    ];
    for (source, (healthy, unhealthy, unknown), verdict) in table {
        let readings = [("models".to_owned(), judged(healthy, unhealthy, unknown))].into();
        let found = condition(source).evaluate(&readings);
        assert_eq!(found.verdict, verdict, "{source} {healthy} {unhealthy} {unknown}: {found:?}");
        assert!(!found.rule_error, "{found:?}");
    }
    let readings = [("models".to_owned(), judged(9, 0, 1))].into();
    let why = condition("signals.models.unhealthy > 0").evaluate(&readings).why;
    assert_eq!(why.as_deref(), Some("the health of 1 object(s) of signals.models is Unknown"));
}

/// Values of usage, of which some objects were not measured.
fn usage(cpu: (f64, f64), bytes: (i64, i64)) -> Readings {
    let values = [
        ("cpuRatio", FieldValue::Double(cpu.0)),
        ("cpuRatioAtMost", FieldValue::Double(cpu.1)),
        ("maxMemoryBytes", FieldValue::Int(bytes.0)),
        ("maxMemoryBytesAtMost", FieldValue::Int(bytes.1)),
    ];
    let values = values.map(|(name, value)| (name.to_owned(), value)).into();
    [("s".to_owned(), values)].into()
}

#[test]
fn a_truth_that_is_the_same_for_all_values_within_the_bounds_is_the_truth() {
    let fields = [("cpuRatio", Double), ("memoryRatio", Double), ("maxMemoryBytes", Int)];
    let declared = [("s".to_owned(), SignalShape { fields: fields.into() })].into();
    let cpu = |least, most| usage((least, most), (1, 1));
    let bytes = |least, most| usage((0.5, 0.5), (least, most));
    let table = [
        ("signals.s.cpuRatio > 0.75", cpu(0.5, 0.75), False),
        ("signals.s.cpuRatio > 0.75", cpu(0.5, 0.76), Unknown),
        ("signals.s.cpuRatio > 0.75", cpu(0.76, f64::INFINITY), True),
        ("0.75 >= signals.s.cpuRatio", cpu(0.75, f64::INFINITY), Unknown),
        // True at both ends, and not between them.
        ("signals.s.cpuRatio < 0.4 || signals.s.cpuRatio > 0.6", cpu(0.3, 0.7), Unknown),
        ("!(signals.s.cpuRatio == 0.5)", cpu(0.3, 0.7), Unknown),
        ("signals.s.cpuRatio > 0.4 && signals.s.cpuRatio < 0.6", cpu(0.3, 0.7), Unknown),
        ("signals.s.cpuRatio != 0.5 || signals.s.cpuRatio > 0.2", cpu(0.3, 0.7), True),
        ("signals.s.maxMemoryBytes > 2 * 1024", bytes(5, 2048), False),
        ("signals.s.maxMemoryBytes > 2 * 1024", bytes(5, 2049), Unknown),
        ("signals.s.maxMemoryBytes > 2 * 1024", bytes(2049, i64::MAX), True),
        ("signals.s.maxMemoryBytes == 7", bytes(5, 9), Unknown),
        ("signals.s.maxMemoryBytes < 7 || signals.s.maxMemoryBytes > 6", bytes(5, 9), True),
        // Each value of one with each of the other.
        ("signals.s.cpuRatio > 0.4 && signals.s.maxMemoryBytes > 4", usage((0.5, 0.9), (5, 9)), True),
        ("signals.s.cpuRatio > 0.6 && signals.s.maxMemoryBytes > 9", usage((0.5, 0.9), (5, 9)), False),
        ("signals.s.cpuRatio > 0.6 || signals.s.maxMemoryBytes > 6", usage((0.5, 0.9), (5, 9)), Unknown),
        // What is computed with cannot be told, even if it would be the same.
        ("signals.s.cpuRatio * 2.0 > 0.0", cpu(0.5, 0.6), Unknown),
        ("signals.s.cpuRatio * 2.0 > 0.0", cpu(0.5, 0.5), True),
    ];
    for (source, readings, verdict) in table {
        let found = Condition::parse(source, &declared).unwrap().evaluate(&readings);
        assert_eq!(found.verdict, verdict, "{source} {readings:?}: {found:?}");
        assert!(!found.rule_error, "{found:?}");
    }
    let why =
        |source: &str| Condition::parse(source, &declared).unwrap().evaluate(&cpu(0.5, 0.9)).why.unwrap();
    let bounded = "signals.s.cpuRatio is known only within bounds, because some objects were not measured";
    assert_eq!(why("signals.s.cpuRatio > 0.6"), bounded);
    let computed = format!("{bounded}, and the expression does more with it than compare it with numbers");
    assert_eq!(why("signals.s.cpuRatio * 2.0 > 0.6"), computed);
}

#[test]
fn three_bounds_over_two_signals_are_tried() {
    let fields = [("cpuRatio", Double), ("memoryRatio", Double), ("maxMemoryBytes", Int)];
    let declared: BTreeMap<String, SignalShape> =
        ["s", "t"].map(|name| (name.to_owned(), SignalShape { fields: fields.into() })).into();
    let mut readings = usage((0.5, 0.9), (5, 9));
    readings.extend(usage((0.5, 0.9), (1, 1)).remove("s").map(|values| ("t".to_owned(), values)));
    for (source, verdict) in [
        ("signals.s.cpuRatio > 0.4 && signals.s.maxMemoryBytes != 3 && signals.t.cpuRatio != 0.95", True),
        ("signals.s.cpuRatio > 0.6 && signals.s.maxMemoryBytes > 6 && signals.t.cpuRatio > 0.95", False),
        ("signals.s.cpuRatio > 0.6 || signals.s.maxMemoryBytes > 6 || signals.t.cpuRatio > 0.4", True),
        ("signals.s.cpuRatio > 0.6 && signals.s.maxMemoryBytes > 6 && signals.t.cpuRatio > 0.6", Unknown),
    ] {
        let found = Condition::parse(source, &declared).unwrap().evaluate(&readings);
        assert_eq!(found.verdict, verdict, "{source}: {found:?}");
    }
}

#[test]
fn each_combination_of_several_signals_is_possible_up_to_257_of_them() {
    let shape = declared()["models"].clone();
    let declared: BTreeMap<String, SignalShape> =
        ["a", "b"].map(|name| (name.to_owned(), shape.clone())).into();
    let verdict = |source: &str, a: i64, b: i64| {
        let readings = [("a".to_owned(), judged(0, 0, a)), ("b".to_owned(), judged(0, 0, b))].into();
        Condition::parse(source, &declared).unwrap().evaluate(&readings).verdict
    };
    let sum = "signals.a.healthy + signals.b.healthy <= 5";
    assert_eq!(verdict(sum, 2, 3), True);
    assert_eq!(verdict(sum, 2, 4), Unknown);
    assert_eq!(verdict("signals.a.healthy + signals.b.healthy >= 0", 15, 15), True);
    assert_eq!(verdict("signals.a.healthy + signals.b.healthy >= 0", 16, 15), Unknown);
}

#[test]
fn a_truth_of_a_signal_is_used_as_it_is() {
    let readings =
        |known| [("gpuNodes".to_owned(), [("known".to_owned(), FieldValue::Boolean(known))].into())].into();
    let gap = condition("!signals.gpuNodes.known");
    assert_eq!([true, false].map(|known| gap.evaluate(&readings(known)).verdict), [False, True]);
    let either = condition("!signals.gpuNodes.known || signals.gpuNodes.ready == 0");
    assert_eq!([true, false].map(|known| either.evaluate(&readings(known)).verdict), [Unknown, True]);
    assert!(refusal("signals.gpuNodes.known == 1").contains("does not work on Boolean and Int"));
    assert!(refusal("signals.gpuNodes.known > signals.gpuNodes.ready").contains("does not work on"));
}
