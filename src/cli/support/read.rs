//! Reads for the archive, as the user. What is not answered becomes an entry of the index, never a gap.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::archive::{Archive, Content};
use super::limit::{First, LARGEST, Last, Room, Splitter};
use super::redact::{self, Lines, Redactions};
use crate::cli::Error;
use crate::kubernetes::retry;

/// Objects of one page. Forty of the largest that the API server stores are below the limit of a response.
const PAGE: u32 = 40;
/// The newest lines of a log that are asked for.
const LOG_LINES: i64 = 200_000;
/// How long the log of one container, or the metrics of a pod, may take.
const LOG_WAIT: Duration = Duration::from_secs(60);

/// One run of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The present one.
    Current,
    /// The one before its last restart.
    Previous,
}

/// Reads with the permissions of the user, and fills an archive.
pub struct Reader<'a> {
    /// Acts as the user.
    pub client: &'a Client,
    /// What is filled.
    pub archive: &'a mut Archive,
    /// Why the first read failed, if one did.
    pub failure: Option<Error>,
    /// What was read in one namespace, because the user may not list it in all of them.
    pub narrowed: Vec<String>,
}

impl Reader<'_> {
    /// Notes that something was not read.
    pub fn failed(&mut self, what: &str, error: &kube::Error) {
        let reason = redact::text(&retry::explain(error), &mut Redactions::default());
        self.archive.could_not_read(what, reason);
        self.failure.get_or_insert_with(|| Error::request(format!("cannot read {what}"), error));
    }

    /// Gives each object to `each`, page by page. In no namespace, it lists all of them.
    pub async fn list(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        mut params: ListParams,
        mut each: impl FnMut(Value),
    ) -> Result<(), kube::Error> {
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        params = params.limit(PAGE);
        loop {
            let page = retry::read(|| api.list(&params)).await?;
            for object in page.items {
                each(with_type(json!(object), resource));
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    /// One object by its name; none if it could not be read, which is noted.
    pub async fn get(
        &mut self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        what: &str,
    ) -> Option<Value> {
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        match retry::find(name, || api.get(name)).await {
            Ok(Some(object)) => Some(with_type(json!(object), resource)),
            Ok(None) => {
                self.archive.could_not_read(what, format!("there is no {} {name}", resource.kind));
                None
            }
            Err(error) => {
                self.failed(what, &error);
                None
            }
        }
    }

    /// Whether there is no room for more, which is noted.
    fn is_full(&mut self, what: &str) -> bool {
        let room = self.archive.room();
        let is_full = room.bytes() == 0;
        if is_full {
            self.archive.could_not_read(what, room.to_string());
        }
        is_full
    }

    /// Adds objects as a file, as far as there is room.
    pub fn add(&mut self, objects: Objects, file: &str, what: &str) -> Result<(), Error> {
        let room = self.archive.room();
        self.archive.add(objects.content(file, what, room))
    }

    /// Adds the log of a container.
    pub async fn log(&mut self, namespace: &str, pod: &str, container: &str, run: Run) -> Result<(), Error> {
        let (suffix, which) = match run {
            Run::Current => ("log", "log"),
            Run::Previous => ("previous.log", "log before the last restart"),
        };
        let what = format!("{which} of container {container} of pod {namespace}/{pod}");
        let params = LogParams {
            container: Some(container.to_owned()),
            previous: run == Run::Previous,
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        if self.is_full(&what) {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let stream = match retry::read(|| api.log_stream(pod, &params)).await {
            Ok(stream) => stream,
            Err(error) => {
                self.failed(&what, &error);
                return Ok(());
            }
        };
        self.lines(format!("logs/{pod}/{container}.{suffix}"), what, stream, LOG_LINES).await
    }

    /// Adds a text as it comes, so that no more of it is in memory than is kept. At most this many lines were asked for.
    async fn lines(
        &mut self,
        file: String,
        what: String,
        stream: impl AsyncRead,
        asked: i64,
    ) -> Result<(), Error> {
        let mut log = Log::new(self.archive.room());
        let end = tokio::time::timeout(LOG_WAIT, log.read(stream)).await;
        match end {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.archive.could_not_read(format!("the end of the {what}"), error.to_string())
            }
            Err(_) => {
                let reason = format!("it did not end within {} s", LOG_WAIT.as_secs());
                self.archive.could_not_read(format!("the end of the {what}"), reason);
            }
        }
        let (bytes, left_out, redactions) = log.end(asked);
        if bytes.is_empty() && left_out.is_none() {
            // Also the answer for a pod that no node runs.
            self.archive.could_not_read(what, "the API server returned nothing");
            return Ok(());
        }
        self.archive.add(Content { file, what, bytes, left_out, redactions })
    }

    /// Adds the metrics of a pod, which the API server asks for them.
    pub async fn metrics(&mut self, namespace: &str, pod: &str, port: i64) -> Result<(), Error> {
        let what = format!("metrics of pod {namespace}/{pod}");
        if self.is_full(&what) {
            return Ok(());
        }
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
        let ask = || async {
            // Like a log, it is read as it comes.
            let request = http::Request::get(&path).extension("log_stream");
            let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
            self.client.request_stream(request).await
        };
        match retry::read(ask).await {
            Ok(stream) => self.lines(format!("metrics/{pod}.txt"), what, stream, i64::MAX).await,
            Err(error) => {
                self.failed(&what, &error);
                Ok(())
            }
        }
    }
}

/// Objects that become one file, as YAML documents.
#[derive(Debug)]
pub struct Objects {
    kept: First,
    redactions: Redactions,
}

impl Objects {
    /// None yet.
    pub fn new() -> Self {
        Self { kept: First::new(LARGEST), redactions: Redactions::default() }
    }

    /// Adds an object, redacted.
    pub fn push(&mut self, mut object: Value) {
        redact::object(&mut object, &mut self.redactions);
        let yaml = serde_saphyr::to_string(&object);
        // An object that came as JSON is maps, lists and scalars.
        self.kept.push(&yaml.map_or_else(|_| format!("---\n{object}\n"), |yaml| format!("---\n{yaml}")));
    }

    /// The file, if there is so much room for it.
    pub fn content(self, file: &str, what: &str, room: Room) -> Content {
        let (bytes, left_out) = self.kept.end(room.bytes());
        let left_out = (left_out > 0).then(|| format!("the last {left_out} objects: {room}"));
        Content { file: file.to_owned(), what: what.to_owned(), bytes, left_out, redactions: self.redactions }
    }
}

/// A log that is read to its end, of which the last lines are kept.
#[derive(Debug)]
struct Log {
    splitter: Splitter,
    lines: Lines,
    kept: Last,
    /// How many lines came.
    read: usize,
    room: Room,
}

impl Log {
    /// A log for which there is so much room.
    fn new(room: Room) -> Self {
        let kept = Last::new(room.bytes());
        Self { splitter: Splitter::default(), lines: Lines::default(), kept, read: 0, room }
    }

    async fn read(&mut self, stream: impl AsyncRead) -> std::io::Result<()> {
        let mut stream = std::pin::pin!(stream);
        let mut chunk = vec![0; 64 << 10];
        loop {
            let length = stream.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            for line in self.splitter.feed(&chunk[..length]) {
                self.push(&line);
            }
        }
    }

    fn push(&mut self, line: &str) {
        self.read += 1;
        if let Some(line) = self.lines.redact(line) {
            self.kept.push(line);
        }
    }

    /// The file, what is missing in it and what was redacted, if at most this many lines were asked for.
    fn end(mut self, asked: i64) -> (Vec<u8>, Option<String>, Redactions) {
        if let Some(line) = self.splitter.end() {
            self.push(&line);
        }
        let (bytes, first) = self.kept.end();
        let has_earlier = i64::try_from(self.read).is_ok_and(|read| read >= asked);
        let room = self.room;
        let missing = match (first, has_earlier) {
            (0, false) => None,
            (0, true) => {
                Some(format!("possibly earlier lines: at most the last {asked} lines are asked for"))
            }
            (first, false) => Some(format!("the first {first} lines: {room}")),
            (first, true) => Some(format!(
                "{first} lines and possibly earlier ones: {room}, and a log the last {asked} lines"
            )),
        };
        (bytes, with_keys(missing, self.lines.left_out), self.lines.redactions)
    }
}

/// What is missing, with the lines of private keys.
fn with_keys(missing: Option<String>, lines: usize) -> Option<String> {
    let keys = (lines > 0).then(|| format!("{lines} lines of private keys"));
    let parts: Vec<String> = keys.into_iter().chain(missing).collect();
    (!parts.is_empty()).then(|| parts.join(", and "))
}

/// The items of a list do not all say what they are.
fn with_type(mut object: Value, resource: &ApiResource) -> Value {
    object["apiVersion"] = json!(resource.api_version);
    object["kind"] = json!(resource.kind);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_which_lines_are_missing() {
        let missing = |text: &str, asked| {
            let mut log = Log { kept: Last::new(20), ..Log::new(Room::File) };
            text.lines().for_each(|line| log.push(line));
            log.end(asked).1.unwrap_or_default()
        };
        assert_eq!(missing("a\nb", 3), "");
        assert_eq!(missing("a\nb", 2), "possibly earlier lines: at most the last 2 lines are asked for");
        let key = "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\na";
        assert_eq!(missing(key, 9), "2 lines of private keys");
        assert_eq!(missing("a line of many letters\nb", 9), "the first 1 lines: a file has at most 16 MiB");
        let both = missing("a line of many letters\nb", 2);
        assert!(both.starts_with("1 lines and possibly earlier ones: "), "{both}");
    }
}
