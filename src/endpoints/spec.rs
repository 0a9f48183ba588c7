//! An endpoint, as the operator's configuration writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use firebreak_engine::signal::EndpointType;
use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;

use crate::outbound::addresses::{Reach, literal};
use crate::outbound::{self, Identity, TlsFiles, origin};

/// An endpoint that signals may ask.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct EndpointSpec {
    /// The name that policies use.
    pub name: String,
    /// What it speaks.
    pub type_: EndpointType,
    /// Its URL. The paths of requests are below it.
    pub url: Uri,
    pub(super) tls: TlsFiles,
    pub(super) bearer_token_file: Option<PathBuf>,
    pub(super) basic_auth: Option<BasicAuth>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) headers_file: Option<PathBuf>,
}

/// A user, and the file with the password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BasicAuth {
    pub(super) username: String,
    pub(super) password_file: PathBuf,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(rename = "type")]
    type_: String,
    url: String,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    client_cert_file: Option<PathBuf>,
    #[serde(default)]
    client_key_file: Option<PathBuf>,
    #[serde(default)]
    bearer_token_file: Option<PathBuf>,
    #[serde(default)]
    basic_auth: Option<BasicAuth>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    headers_file: Option<PathBuf>,
}

impl fmt::Debug for EndpointSpec {
    /// Without the rest of the URL and the values of headers, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("type", &self.type_)
            .field("at", &origin(&self.url))
            .finish()
    }
}

impl TryFrom<Written> for EndpointSpec {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let name = written.name.clone();
        let wrong = |what: &str| format!("endpoint {name}: {what}");
        if !is_label(&name) {
            return Err(format!(
                "an endpoint has the name {name:?}; use a-z, 0-9 and -, at most 63 characters"
            ));
        }
        let type_ = EndpointType::ALL.iter().find(|type_| type_.name() == written.type_);
        let type_ = *type_.ok_or_else(|| {
            let known: Vec<&str> = EndpointType::ALL.iter().map(|type_| type_.name()).collect();
            wrong(&format!("type is none of {}", known.join(", ")))
        })?;
        let url = checked(&written.url).map_err(|why| wrong(&why))?;
        if written.bearer_token_file.is_some() && written.basic_auth.is_some() {
            return Err(wrong("set bearerTokenFile or basicAuth, not both"));
        }
        if written.basic_auth.as_ref().is_some_and(|basic| basic.username.contains(':')) {
            return Err(wrong("basicAuth.username must not contain a colon"));
        }
        let identity = match (written.client_cert_file, written.client_key_file) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(wrong("clientCertFile and clientKeyFile are set together, or neither"));
            }
        };
        let tls = TlsFiles { authorities: written.ca_file, identity };
        if url.scheme_str() == Some("http") && tls != TlsFiles::default() {
            return Err(wrong("caFile, clientCertFile and clientKeyFile need a URL with https"));
        }
        let header = |(key, value): (String, String)| {
            let key: HeaderName =
                key.parse().map_err(|_| wrong("headers has a name that HTTP does not allow"))?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| wrong(&format!("headers has a value of {key} that HTTP does not allow")))?;
            value.set_sensitive(true);
            Ok((key, value))
        };
        let headers = written.headers.into_iter().map(header).collect::<Result<_, String>>()?;
        let Written { bearer_token_file, basic_auth, headers_file, .. } = written;
        Ok(Self { name, type_, url, tls, bearer_token_file, basic_auth, headers, headers_file })
    }
}

/// The URL of an endpoint. The error does not show it, because it may have a key.
fn checked(text: &str) -> Result<Uri, String> {
    let usual = "url is no URL with http:// or https:// and without user, password and fragment, such as \
                 http://prometheus.monitoring:9090";
    let url = outbound::url(text).filter(|_| !text.contains('#')).ok_or(usual)?;
    if let Some(address) = url.host().and_then(literal) {
        Reach::of(&url).check(address).map_err(|refused| format!("url: {refused}"))?;
    }
    Ok(url)
}

fn is_label(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EndpointSpec, String> {
        serde_saphyr::from_str(&format!("{{{text}}}")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_endpoint_has_a_name_a_type_a_url_and_files() {
        let spec = parse(
            "name: main, type: Prometheus, url: 'https://a.b:9090/prefix?x=1', caFile: /ca, \
             clientCertFile: /crt, clientKeyFile: /key, bearerTokenFile: /token, headers: {X-Scope-OrgID: ops}",
        );
        let spec = spec.unwrap();
        assert_eq!((spec.name.as_str(), spec.type_), ("main", EndpointType::Prometheus));
        assert_eq!(spec.tls.all().len(), 3);
        let shown = format!("{spec:?}");
        assert!(shown.contains("https://a.b:9090") && !shown.contains("x=1"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_is_shown() {
        let usual = "name: main, type: Prometheus, url: 'http://a:1'";
        let table = [
            ("name: Main, type: Prometheus, url: 'http://a:1'".to_owned(), "a-z, 0-9 and -"),
            (
                "name: main, type: Redis, url: 'http://a:1'".to_owned(),
                "endpoint main: type is none of Prometheus, Alertmanager, HTTP",
            ),
            ("name: main, type: Prometheus, url: 'a:1'".to_owned(), "url is no URL with http"),
            (
                "name: main, type: Prometheus, url: 'http://me:s3cret@a:1'".to_owned(),
                "url is no URL with http",
            ),
            ("name: main, type: Prometheus, url: 'http://a:1#s3cret'".to_owned(), "url is no URL with http"),
            (
                "name: main, type: Prometheus, url: 'http://169.254.169.254/s3cret'".to_owned(),
                "a link-local address",
            ),
            (
                "name: main, type: Prometheus, url: 'http://[::ffff:169.254.169.254]/'".to_owned(),
                "a link-local address",
            ),
            ("name: main, type: Prometheus, url: 'http://[fd00:ec2::254]/'".to_owned(), "a metadata address"),
            (format!("{usual}, token: s3cret"), "token"),
            (format!("{usual}, caFile: /ca"), "need a URL with https"),
            (
                "name: main, type: Prometheus, url: 'https://a:1', clientKeyFile: /k".to_owned(),
                "set together",
            ),
            (
                format!("{usual}, bearerTokenFile: /t, basicAuth: {{username: a, passwordFile: /p}}"),
                "bearerTokenFile or basicAuth",
            ),
            (
                format!("{usual}, basicAuth: {{username: 'a:b', passwordFile: /p}}"),
                "must not contain a colon",
            ),
            (format!("{usual}, headers: {{'a b': s3cret}}"), "headers has a name"),
            (format!("{usual}, headers: {{a: \"s3cret\\n\"}}"), "headers has a value of a"),
        ];
        for (text, expected) in table {
            let error = parse(&text).unwrap_err();
            let first = error.lines().next().unwrap();
            assert!(first.contains(expected) && !first.contains("s3cret"), "{text}: {error}");
        }
    }
}
