//! `firebreak support`: an archive for people who help with a problem.
//!
//! It reads as the user, redacts by rule, and says what it could not read. It never reads a Secret, and it writes nothing to
//! the cluster.

mod archive;
mod collect;
mod index;
mod limit;
mod read;
mod redact;

use std::path::{Path, PathBuf};

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

use self::archive::Archive;
use self::collect::Places;
use self::index::{About, Contents};
use self::read::Reader;
use super::connection::Connection;
use super::screen::{Screen, harmless};
use super::{Answer, Error};
use crate::kubernetes::retry;
use crate::settings::SupportArgs;

/// Writes the archive, and prints what is in it.
pub async fn run(screen: &Screen, connection: &Connection, args: &SupportArgs) -> Result<Answer, Error> {
    let now = Timestamp::now();
    let root = format!("firebreak-support-{}", now.strftime("%Y%m%d-%H%M%S"));
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{root}.tar.gz")));
    let mut archive = Archive::create(&path, root, now)?;

    let namespace = args.namespace.as_deref();
    let places = Places {
        namespace,
        fallback: connection.client.default_namespace(),
        operator: &args.operator.operator_namespace,
    };
    let mut reader =
        Reader { client: &connection.client, archive: &mut archive, failure: None, narrowed: vec![] };
    let server = match retry::read(|| connection.client.apiserver_version()).await {
        Ok(version) => Some(version.git_version),
        Err(error @ kube::Error::Api(_)) => {
            reader.failed("the version of the API server", &error);
            None
        }
        Err(error) => return Err(Error::request("cannot reach the cluster", &error)),
    };
    // An archive without its end would stay.
    let pods = tokio::select! {
        pods = collect::all(&mut reader, &places) => pods?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Error::failed("no archive was written", "interrupted", "run it again"));
        }
    };
    let narrowed = std::mem::take(&mut reader.narrowed);
    if let Some(failure) = reader.failure.take()
        && archive.is_empty()
    {
        return Err(failure);
    }
    let contents = archive.finish(About {
        created: now,
        client: env!("CARGO_PKG_VERSION"),
        server,
        scope: places.scope(&narrowed),
        pods,
    })?;
    screen.text(&summary(&path, &contents))?;
    Ok(Answer::Yes)
}

/// What is in the archive, what is not, and what to look at before it is shared.
fn summary(path: &Path, contents: &Contents) -> String {
    let rows = contents.files.iter().map(|file| {
        let left_out = file.left_out.as_ref().map(|what| format!("; left out: {what}")).unwrap_or_default();
        [file.file.clone(), size(file.bytes), format!("{}{left_out}", file.what)]
    });
    let mut text = table(["FILE", "SIZE", "CONTENT"], rows);
    if !contents.not_read.is_empty() {
        text.push('\n');
        let rows = contents.not_read.iter().map(|unread| [unread.what.clone(), unread.reason.clone()]);
        text.push_str(&table(["NOT READ", "REASON"], rows));
    }
    let path = harmless(&path.display().to_string());
    text.push_str(&format!(
        "\n{path} is complete. {} values are redacted, by the rules in {}.\nBefore you share it, look at the logs, the \
         Events and the messages in incidents/: they have the names of your namespaces, objects and images, and may \
         quote texts that no rule recognizes as a secret.\n",
        contents.redacted(),
        index::FILE
    ));
    text
}

fn table<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    for row in rows {
        table.add_row(row.map(|cell| harmless(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::index::{FileEntry, Unread};
    use super::*;

    #[test]
    fn the_summary_says_what_is_in_it_and_what_is_not() {
        let file = |file: &str, bytes, left_out: Option<&str>| FileEntry {
            file: file.to_owned(),
            what: "log of \u{1b}[2J".to_owned(),
            bytes,
            left_out: left_out.map(str::to_owned),
            redacted: BTreeMap::from([("Token", 2)]),
        };
        let about = About {
            created: "2026-03-01T10:00:00Z".parse().unwrap(),
            client: "0.1.0",
            server: None,
            scope: "all namespaces".into(),
            pods: vec![],
        };
        let files =
            vec![file("logs/a/b.log", 999, None), file("x.yaml", 3 << 20, Some("the last 2 objects"))];
        let unread = vec![Unread { what: "Incidents".into(), reason: "forbidden".into() }];
        insta::assert_snapshot!(summary(Path::new("x.tar.gz"), &Contents::new(about, files, unread)));
    }

    #[test]
    fn sizes_are_rounded_up_to_what_people_read() {
        assert_eq!(
            [0, 1023, 1024, 1025, 16 << 20].map(size),
            ["0 B", "1023 B", "1 KiB", "2 KiB", "16.0 MiB"]
        );
    }
}
