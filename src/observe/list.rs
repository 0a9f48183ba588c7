//! Lists, page by page, of which only one object is decoded at a time.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryFutureExt};
use http::Request;
use kube::Client;
use kube::api::ListParams;
use kube::core::request;
use serde::Deserialize;
use tokio::time::timeout;

use super::elements::Elements;
use super::failure::Failure;
use crate::kubernetes::client::Streamed;

/// How long one page may take.
pub(super) const PAGE_WITHIN: Duration = Duration::from_secs(30);
/// How long a list in one piece may take.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
/// As client-go. The API server holds a page in memory; here, only the object that arrives is.
const PAGE: u32 = 500;

/// How a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// Page by page.
    Pages,
    /// Everything at once.
    One,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// Which objects of a collection, as the API wants it; empty for everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selection<'a> {
    /// The selector of labels.
    pub labels: &'a str,
    /// The selector of fields.
    pub fields: &'a str,
}

/// Calls `each` with every object of a collection that is selected. Returns the version of the
/// list, which is empty if the server has none.
///
/// # Errors
/// The list did not arrive as a whole.
pub(super) async fn list(
    client: &Client,
    url: &str,
    selection: Selection<'_>,
    pieces: Pieces,
    mut each: impl FnMut(&str),
) -> Result<String, Failure> {
    let (mut params, limit) = match pieces {
        Pieces::Pages => (ListParams::default().limit(PAGE), PAGE_WITHIN),
        Pieces::One => (ListParams::default(), WHOLE_WITHIN),
    };
    if !selection.labels.is_empty() {
        params = params.labels(selection.labels);
    }
    if !selection.fields.is_empty() {
        params = params.fields(selection.fields);
    }
    loop {
        let mut request = request::Request::new(url).list(&params).map_err(unsendable)?;
        request.extensions_mut().insert("list");
        request.extensions_mut().insert(Streamed);
        let page = within(limit, "the list", page(client, request, &mut each)).await?;
        if page.next.is_empty() {
            return Ok(page.resource_version);
        }
        params.continue_token = Some(page.next);
    }
}

async fn page(
    client: &Client,
    request: Request<Vec<u8>>,
    each: &mut impl FnMut(&str),
) -> Result<PageMeta, Failure> {
    let body = client.request_stream(request).map_err(|error| Failure::of(&error)).await?;
    let mut body = std::pin::pin!(body);
    let mut elements = Elements::default();
    let unreadable = |error: String| Failure::Trouble(format!("the list cannot be read: {error}"));
    loop {
        let bytes = body.fill_buf().await.map_err(|error| unreadable(error.to_string()))?;
        if bytes.is_empty() {
            let page = serde_json::from_slice(elements.rest());
            return page.map(|page: Page| page.metadata).map_err(|error| unreadable(error.to_string()));
        }
        let length = bytes.len();
        // What is no text is no object either.
        let fed = elements.feed(bytes, |object| each(std::str::from_utf8(object).unwrap_or_default()));
        fed.map_err(|error| unreadable(error.to_string()))?;
        body.consume_unpin(length);
    }
}

/// A missing answer is a failure.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, answer).await.unwrap_or_else(|_| Err(Failure::Trouble(format!("{what} got no reply"))))
}

/// The request itself is wrong.
pub(super) fn unsendable(error: request::Error) -> Failure {
    Failure::Blind { reason: "Refused", detail: error.to_string() }
}
