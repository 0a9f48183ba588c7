//! Where traces are sent, from the environment variables that OpenTelemetry defines.
//!
//! An empty variable is one that is not set, as the specification wants it. No value is ever printed, because each may be a
//! credential by mistake.

use std::ffi::OsString;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::outbound;
use crate::telemetry::traces::{Compression, TraceChoice, TraceSettings};

const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// What can be set for all signals and, before that, for traces alone.
const SHARED: [[&str; 2]; 5] = [PROTOCOL, HEADERS, TIMEOUT, CERTIFICATE, COMPRESSION];
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const CERTIFICATE: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const COMPRESSION: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];

/// What others support, and we do not.
const UNSUPPORTED: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
];

/// How long a request may take unless a variable says otherwise.
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The variables that are set and not empty. What is no text becomes one that no check accepts.
pub(super) fn variables(read: impl Fn(&str) -> Option<OsString>) -> Vec<(String, String)> {
    let alone = [DISABLED, EXPORTER, SERVICE_NAME, RESOURCE, ENDPOINT, TRACES_ENDPOINT];
    let names = alone.into_iter().chain(SHARED.into_iter().flatten()).chain(UNSUPPORTED);
    let set =
        names.filter_map(|name| Some((name.to_owned(), read(name)?.to_string_lossy().trim().to_owned())));
    set.filter(|(_, value)| !value.is_empty()).collect()
}

/// Whether and where to send traces. A mistake switches them off and nothing else: they are optional, and the variables come
/// from Secrets that others change, perhaps in the middle of an emergency.
pub(super) fn choice(variables: &[(String, String)], instance: &str) -> TraceChoice {
    match settings(variables, instance) {
        Ok(None) => TraceChoice::Off,
        Ok(Some(settings)) => TraceChoice::To(Box::new(settings)),
        Err(why) => TraceChoice::Wrong(why),
    }
}

/// Where to send traces; none if no endpoint is set, or if they are switched off.
fn settings(variables: &[(String, String)], instance: &str) -> Result<Option<TraceSettings>, String> {
    let set = |name: &str| variables.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, set(name)?)));
    let is_off = set(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if is_off || set(EXPORTER) == Some("none") {
        return Ok(None);
    }
    let Some(url) = url(set(TRACES_ENDPOINT), set(ENDPOINT))? else { return Ok(None) };
    if set(EXPORTER).is_some_and(|exporter| exporter != "otlp") {
        return Err(format!("{EXPORTER} is neither \"otlp\" nor \"none\", and nothing else is supported"));
    }
    if let Some((name, _)) = first(PROTOCOL).filter(|(_, protocol)| *protocol != "http/protobuf") {
        return Err(format!(
            "{name} is not \"http/protobuf\", and nothing else is supported; it is usually on port 4318"
        ));
    }
    let headers = first(HEADERS).map(headers).transpose()?.unwrap_or_default();
    Ok(Some(TraceSettings {
        doubts: doubts(&url, &headers, |name| set(name).is_some()),
        url,
        headers,
        timeout: first(TIMEOUT).map(timeout).transpose()?.unwrap_or(USUAL_TIMEOUT),
        certificate: first(CERTIFICATE).map(|(_, path)| path.into()),
        compression: first(COMPRESSION).map(compression).transpose()?.unwrap_or_default(),
        resource: resource(set(RESOURCE), set(SERVICE_NAME), instance)?,
    }))
}

/// The endpoint for traces unchanged, or the endpoint for all signals with `/v1/traces` appended.
fn url(traces: Option<&str>, all: Option<&str>) -> Result<Option<Uri>, String> {
    let (name, url) = match (traces, all) {
        (Some(url), _) => (TRACES_ENDPOINT, url.to_owned()),
        (None, Some(base)) => (ENDPOINT, format!("{}/v1/traces", base.trim_end_matches('/'))),
        (None, None) => return Ok(None),
    };
    // The path of traces would become part of it.
    if name == ENDPOINT && url.contains(['?', '#']) {
        return Err(format!("{name} has a query or a fragment; set {TRACES_ENDPOINT} to the whole URL"));
    }
    let wrong =
        || format!("{name} is no URL with http:// or https://, such as http://collector.observability:4318");
    outbound::url(&url).map(Some).ok_or_else(wrong)
}

/// What is allowed, and hardly meant.
fn doubts(url: &Uri, headers: &[(HeaderName, HeaderValue)], is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let readable = (!headers.is_empty() && url.scheme_str() == Some("http")).then(|| {
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        format!("the headers {} of traces are sent without encryption; use https", names.join(", "))
    });
    let unsupported = UNSUPPORTED.into_iter().filter(|name| is_set(name));
    let unsupported = unsupported.map(|name| format!("{name} is not supported and has no effect"));
    readable.into_iter().chain(unsupported).collect()
}

/// `name=value,name=value`, with values that are percent-encoded.
fn pairs<'a>(name: &'a str, list: &'a str) -> impl Iterator<Item = Result<(&'a str, String), String>> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.enumerate().map(move |(number, item)| {
        let wrong = || format!("item {} of {name} is not of the form name=value", number + 1);
        let (key, value) = item.split_once('=').ok_or_else(wrong)?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| wrong())?;
        Ok((key.trim(), value.into_owned()))
    })
}

fn headers((name, list): (&str, &str)) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |pair: Result<(&str, String), String>| {
        let (key, value) = pair?;
        let wrong = || format!("{name} has a header that HTTP does not allow");
        let key = key.parse::<HeaderName>().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((key, value))
    };
    pairs(name, list).map(header).collect()
}

fn timeout((name, text): (&str, &str)) -> Result<Duration, String> {
    let milliseconds: Option<u64> = text.parse().ok().filter(|number| (1..=600_000).contains(number));
    let wrong = || format!("{name} is no number of milliseconds from 1 to 600000");
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

fn compression((name, text): (&str, &str)) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "none" => Ok(Compression::None),
        _ => Err(format!("{name} is neither \"gzip\" nor \"none\", and nothing else is supported")),
    }
}

/// What the spans say of this process. What people set wins.
fn resource(
    list: Option<&str>,
    service: Option<&str>,
    instance: &str,
) -> Result<Vec<(String, String)>, String> {
    let usual = [
        ("service.name", "firebreak"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance),
    ];
    let mut resource: Vec<(String, String)> =
        usual.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let mut set = |key: &str, value: String| match resource.iter_mut().find(|(own, _)| own == key) {
        Some((_, old)) => *old = value,
        None => resource.push((key.to_owned(), value)),
    };
    for pair in pairs(RESOURCE, list.unwrap_or_default()) {
        let (key, value) = pair?;
        set(key, value);
    }
    if let Some(service) = service {
        set("service.name", service.to_owned());
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| OsString::from(*value))
        };
        settings(&super::variables(environment), "firebreak-0")
    }

    fn read_on(variables: &[(&str, &str)]) -> TraceSettings {
        let endpoint = [(ENDPOINT, "http://collector:4318")];
        read(&[endpoint.as_slice(), variables].concat()).unwrap().unwrap()
    }

    #[test]
    fn traces_are_off_without_an_endpoint() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(ENDPOINT, ""), (TRACES_ENDPOINT, " ")]), Ok(None));
        assert_eq!(read(&[(ENDPOINT, "http://collector:4318"), (DISABLED, "TRUE")]), Ok(None));
        assert_eq!(read(&[(ENDPOINT, "http://collector:4318"), (EXPORTER, "none")]), Ok(None));
        // Variables of other signals and of no endpoint are nobody's mistake.
        assert_eq!(read(&[(PROTOCOL[1], "grpc")]), Ok(None));
    }

    #[test]
    fn the_endpoint_of_all_signals_gets_the_path_and_that_of_traces_is_taken_as_it_is() {
        let url = |variables: &[(&str, &str)]| read(variables).unwrap().unwrap().url.to_string();
        assert_eq!(url(&[(ENDPOINT, "http://collector:4318")]), "http://collector:4318/v1/traces");
        assert_eq!(
            url(&[(ENDPOINT, "https://otlp.example.com/otlp/")]),
            "https://otlp.example.com/otlp/v1/traces"
        );
        let both = [(ENDPOINT, "http://a:1"), (TRACES_ENDPOINT, "http://b:2/here")];
        assert_eq!(url(&both), "http://b:2/here");
        assert_eq!(url(&[(TRACES_ENDPOINT, "http://b:2")]), "http://b:2/");
    }

    #[test]
    fn headers_are_decoded_and_never_printed() {
        let given = read_on(&[(HEADERS[1], "authorization=Basic%20c2VjcmV0, x-scope-orgid = ops ,")]);
        let value = |name: &str| {
            let found = given.headers.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        assert_eq!(value("authorization").as_deref(), Some("Basic c2VjcmV0"));
        assert_eq!(value("x-scope-orgid").as_deref(), Some("ops"));
        let shown = format!("{given:?}");
        assert!(shown.contains("authorization") && !shown.contains("c2VjcmV0"), "{shown}");
        let with_key = read(&[(TRACES_ENDPOINT, "https://collector:4318/v1?api_key=c2VjcmV0")]).unwrap();
        let shown = format!("{with_key:?}");
        assert!(shown.contains("https://collector:4318") && !shown.contains("c2VjcmV0"), "{shown}");
        let alone = read_on(&[(HEADERS[1], "a=1"), (HEADERS[0], "b=2")]);
        assert_eq!(alone.headers.len(), 1, "those of traces replace those of all signals");
        assert_eq!(alone.headers[0].0, "b");
    }

    #[test]
    fn the_resource_names_the_service_and_what_people_add() {
        let given = read_on(&[(RESOURCE, "k8s.cluster.name=prod,service.name=a%2Cb")]);
        let expected = [
            ("service.name", "a,b"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", "firebreak-0"),
            ("k8s.cluster.name", "prod"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(given.resource, expected);
        let named = read_on(&[(RESOURCE, "service.name=a"), (SERVICE_NAME, "b")]);
        assert_eq!(named.resource[0].1, "b");
    }

    #[test]
    fn the_rest_has_the_usual_values_unless_it_is_set() {
        let usual = read_on(&[]);
        assert_eq!((usual.timeout, usual.compression), (USUAL_TIMEOUT, Compression::None));
        let given = read_on(&[(TIMEOUT[1], "2500"), (COMPRESSION[0], "gzip"), (CERTIFICATE[1], "/ca.crt")]);
        assert_eq!((given.timeout, given.compression), (Duration::from_millis(2500), Compression::Gzip));
        assert_eq!(given.certificate, Some("/ca.crt".into()));
    }

    #[test]
    fn what_is_hardly_meant_is_said_and_sent_nevertheless() {
        assert_eq!(read_on(&[]).doubts, Vec::<String>::new());
        let readable = read_on(&[(HEADERS[1], "authorization=s3cret")]).doubts;
        assert_eq!(readable, ["the headers authorization of traces are sent without encryption; use https"]);
        let hidden = [(TRACES_ENDPOINT, "https://collector/"), (HEADERS[1], "authorization=s3cret")];
        assert_eq!(read(&hidden).unwrap().unwrap().doubts, Vec::<String>::new());
        for name in UNSUPPORTED {
            assert_eq!(
                read_on(&[(name, "/s3cret")]).doubts,
                [format!("{name} is not supported and has no effect")]
            );
        }
    }

    #[test]
    fn a_mistake_switches_traces_off_and_stops_nothing() {
        let choose = |value: &str| choice(&[(ENDPOINT.to_owned(), value.to_owned())], "firebreak-0");
        assert!(matches!(choose("http://collector:4318"), TraceChoice::To(_)));
        assert!(matches!(choose("collector:4318"), TraceChoice::Wrong(why) if why.contains(ENDPOINT)));
        assert_eq!(choice(&[], "firebreak-0"), TraceChoice::Off);
    }

    #[test]
    fn an_address_of_ipv6_is_one() {
        let url = read(&[(ENDPOINT, "http://[::1]:65535")]).unwrap().unwrap().url;
        assert_eq!(url.to_string(), "http://[::1]:65535/v1/traces");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_variable_and_no_secret_is_told() {
        let endpoint = (TRACES_ENDPOINT, "http://collector:4318/v1/traces");
        for (name, value) in [
            (ENDPOINT, "collector:4318"),
            (ENDPOINT, "grpc://collector:4317"),
            (ENDPOINT, "http://"),
            (ENDPOINT, "http://:4318"),
            (ENDPOINT, "http://collector:"),
            (ENDPOINT, "http://collector:0"),
            (ENDPOINT, "http://collector:65536"),
            (ENDPOINT, "http://collector:4318?key=s3cret"),
            (ENDPOINT, "http://collector:4318/otlp#s3cret"),
            (TRACES_ENDPOINT, "http://collector:99999/v1/traces"),
            (TRACES_ENDPOINT, "https://me:s3cret@collector/"),
            (EXPORTER, "s3cret"),
            (PROTOCOL[1], "s3cret"),
            (PROTOCOL[1], "grpc"),
            (PROTOCOL[0], "http/json"),
            (HEADERS[1], "s3cret"),
            (HEADERS[1], "a key=s3cret"),
            (HEADERS[1], "key=s3cret%0A"),
            (HEADERS[1], "key=s3cret%FF"),
            (TIMEOUT[1], "10s"),
            (TIMEOUT[0], "0"),
            (TIMEOUT[0], "s3cret"),
            (COMPRESSION[1], "s3cret"),
            (RESOURCE, "prod"),
        ] {
            let is_endpoint = name == ENDPOINT || name == TRACES_ENDPOINT;
            let variables = if is_endpoint { vec![(name, value)] } else { vec![(name, value), endpoint] };
            let why = read(&variables).unwrap_err();
            assert!(why.contains(name) && !why.contains("s3cret") && !why.contains('\n'), "{name}: {why}");
        }
    }
}
