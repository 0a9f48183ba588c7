//! Credentials from files, which are read again for every request: a rotated token counts at once.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::Unanswered;
use super::spec::{BasicAuth, EndpointSpec};
use crate::outbound::TlsFiles;

/// The longest file that is read.
const LONGEST: u64 = 256 * 1024;

/// The contents of the files of a TLS connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Files(Vec<Vec<u8>>);

impl Files {
    /// The present contents. The error names no path.
    pub(super) async fn read(files: &TlsFiles) -> Result<Self, String> {
        let mut contents = Vec::new();
        for (what, file) in files.all() {
            contents.push(content(what, file).await?);
        }
        Ok(Self(contents))
    }
}

/// The headers of a request to this endpoint.
pub(super) async fn headers(spec: &EndpointSpec) -> Result<Vec<(HeaderName, HeaderValue)>, Unanswered> {
    let bad = |why| Unanswered::unusable("BadCredentials", why);
    let mut headers = spec.headers.clone();
    if let Some(file) = &spec.headers_file {
        let text = text("headersFile", file).await.map_err(bad)?;
        headers.extend(lines(&text).map_err(bad)?);
    }
    let authorization = match (&spec.bearer_token_file, &spec.basic_auth) {
        (Some(file), _) => {
            let token = text("bearerTokenFile", file).await.map_err(bad)?;
            Some(format!("Bearer {}", token.trim()))
        }
        (None, Some(BasicAuth { username, password_file })) => {
            let password = text("passwordFile", password_file).await.map_err(bad)?;
            // A line break at the end belongs to the editor, not to the password.
            let password = password.trim_end_matches(['\n', '\r']);
            Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
        }
        (None, None) => None,
    };
    if let Some(authorization) = authorization {
        let mut value = HeaderValue::from_str(&authorization)
            .map_err(|_| bad("the credential has a character that HTTP does not allow".to_owned()))?;
        value.set_sensitive(true);
        headers.push((AUTHORIZATION, value));
    }
    Ok(headers)
}

/// One header in each line, as `Name: value`. Empty lines and those that begin with `#` are left out.
fn lines(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let header = |(at, line): (usize, &str)| {
        let wrong = || format!("line {at} of headersFile is not of the form `Name: value`");
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    lines.map(header).collect()
}

async fn text(what: &str, file: &Path) -> Result<String, String> {
    let content = content(what, file).await?;
    String::from_utf8(content).map_err(|_| format!("the {what} is not a text in UTF-8"))
}

async fn content(what: &str, file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("the {what} cannot be read: {error}");
    let length = tokio::fs::metadata(file).await.map_err(failed)?.len();
    if length > LONGEST {
        return Err(format!("the {what} is longer than {} KiB", LONGEST / 1024));
    }
    tokio::fs::read(file).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn credentials_are_read_from_files_again_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let spec = |more: &str| -> EndpointSpec {
            let text = format!("{{name: a, type: Prometheus, url: 'http://a:1/', {more}}}");
            serde_saphyr::from_str(&text).unwrap()
        };
        let read = |spec: EndpointSpec| async move {
            let headers = headers(&spec).await?;
            assert!(!format!("{headers:?}").contains("s3cret"), "{headers:?}");
            Ok::<_, Unanswered>(
                headers
                    .into_iter()
                    .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                    .collect::<Vec<_>>(),
            )
        };
        let token = file("token", "s3cret\n");
        let bearer = spec(&format!("bearerTokenFile: {}", token.display()));
        assert_eq!(read(bearer.clone()).await.unwrap(), ["authorization: Bearer s3cret"]);
        file("token", "s3cret-2");
        assert_eq!(read(bearer.clone()).await.unwrap(), ["authorization: Bearer s3cret-2"]);
        fs::remove_file(&token).unwrap();
        let gone = read(bearer).await.unwrap_err();
        assert_eq!(gone.kind(), "BadCredentials");
        assert!(!format!("{gone:?}").contains(token.to_str().unwrap()), "{gone:?}");

        let password = file("password", "s3cret\n");
        let basic = spec(&format!("basicAuth: {{username: me, passwordFile: {}}}", password.display()));
        assert_eq!(read(basic).await.unwrap(), ["authorization: Basic bWU6czNjcmV0"]);
        let others = file("headers", "# of the gateway\nX-Scope-OrgID: ops\n\nX-Key: s3cret\n");
        let with_headers = spec(&format!("headers: {{X-A: b}}, headersFile: {}", others.display()));
        assert_eq!(
            read(with_headers.clone()).await.unwrap(),
            ["x-a: b", "x-scope-orgid: ops", "x-key: s3cret"]
        );
        file("headers", "s3cret");
        let wrong = format!("{:?}", read(with_headers).await.unwrap_err());
        assert!(wrong.contains("line 1 of headersFile") && !wrong.contains("s3cret"), "{wrong}");
    }
}
