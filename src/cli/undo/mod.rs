//! `firebreak undo`: reverts one object from its own record, as the user, without controller and Incident.

mod leftovers;
mod loans;

use firebreak_engine::change::FieldChange;
use firebreak_engine::id::TargetId;
use firebreak_engine::undo::{self, FENCE, INCIDENT, Loan, UNDO};
use serde_json::Value;

use self::leftovers::{Journals, Leftover};
use self::loans::{Borrower, HandedBack};
use super::connection::Connection;
use super::screen::{Line, Screen, Style, note};
use super::tree::value;
use super::{Answer, Error};
use crate::actuator::live_read::{self, Read};
use crate::api::names;
use crate::kubernetes::discovery::ServedKind;
use crate::kubernetes::kinds;
use crate::settings::{ObjectName, UndoArgs};
use crate::view::FieldView;

/// Reverts an object, or with `--forget` only drops its record.
pub async fn run(screen: &Screen, connection: &Connection, args: &UndoArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let (kind, object) = find(connection, &args.object, &namespace).await?;
    let target = identify(&object).ok_or_else(|| {
        Error::bug(&format!("cannot identify {}/{}", args.object.kind, args.object.name), "it has no uid")
    })?;
    if args.forget {
        let answer = forget(screen, connection, kind, target.clone(), &object).await;
        leftovers::name_copies(connection, &target).await;
        return answer;
    }
    let answer = undo_from_record(screen, connection, target.clone(), &object).await;
    leftovers::name_copies(connection, &target).await;
    answer
}

async fn undo_from_record(
    screen: &Screen,
    connection: &Connection,
    target: TargetId,
    object: &Value,
) -> Result<Answer, Error> {
    let record = undo::record(object).map_err(|error| match leftovers::original(object, &target, &error) {
        Some(original) => Error::Said(format!(
            "cannot undo {target}: its undo record is a copy of the one on {original}, which controls it; revert that \
             with `{}`",
            original.undo_command()
        )),
        None => Error::Said(format!("cannot undo {target}: {error}; check it, then drop it with --forget")),
    })?;
    let loans = record.map(|record| record.loans).unwrap_or_default();
    if loans.is_empty() {
        return Err(Error::failed(
            format!("{target} has no undo record"),
            format!("there is no annotation {UNDO} on it"),
            "there is nothing to revert; `firebreak get -A` shows what is in force",
        ));
    }
    let journals = ask_incidents(connection, &loans).await;
    let (leftovers, in_force) = leftovers::sort(object, loans, &journals);
    match (leftovers.first(), in_force.is_empty()) {
        (Some(Leftover { why, .. }), true) => Err(Error::Said(format!(
            "cannot undo {target}: {why}; check its values, then drop the record with --forget"
        ))),
        (Some(Leftover { why, .. }), false) => {
            note(&format!("{why}: leaving it alone; --forget drops it"));
            revert(screen, connection, target, in_force).await
        }
        (None, _) => revert(screen, connection, target, in_force).await,
    }
}

async fn revert(
    screen: &Screen,
    connection: &Connection,
    target: TargetId,
    loans: Vec<Loan>,
) -> Result<Answer, Error> {
    screen.lines(&[Line::styled(Style::Strong, target.to_string())])?;
    let mut fields = Vec::new();
    let mut last = None;
    // The newest first, as in a withdrawal.
    for loan in loans.iter().rev() {
        let (incident, _) = loan.incident.rsplit_once('/').unwrap_or((&loan.incident, ""));
        screen.lines(&[Line::of(format!("  changed by Incident {incident}, step {}", loan.step))])?;
        // Its paths refer to the version of the kind in which it was made.
        let kind = connection.discovery.resolve(&loan.api_version, &target.kind).await;
        let kind = kind.map_err(|error| {
            Error::failed(
                format!("cannot undo {target}"),
                error.to_string(),
                "install that kind again, or use --forget",
            )
        })?;
        let target = TargetId { api_version: loan.api_version.clone(), ..target.clone() };
        let borrower = Borrower::new(&connection.client, kind, target);
        let returned = borrower.revert(loan).await?;
        screen.lines(&returned.iter().map(field_line).collect::<Vec<_>>())?;
        fields.extend(returned);
        last = Some(borrower);
    }
    if let Some(borrower) = last {
        say_ownership(screen, borrower.hand_back(&fields).await?)?;
    }
    let left = fields.iter().filter(|field| field.ceded_to.is_some()).count();
    let back = fields.len() - left;
    let left = if left == 0 {
        String::new()
    } else {
        format!(", {left} left alone because someone else has changed it since")
    };
    screen.lines(&[Line::of("  ").add(Style::Good, format!("{back} field(s) reverted{left}"))])?;
    Ok(Answer::Yes)
}

async fn forget(
    screen: &Screen,
    connection: &Connection,
    kind: ServedKind,
    target: TargetId,
    object: &Value,
) -> Result<Answer, Error> {
    let has =
        |place: &str, key: &str| object.get("metadata").and_then(|meta| meta.get(place)?.get(key)).is_some();
    if !has("annotations", UNDO) && !has("labels", INCIDENT) && !has("annotations", FENCE) {
        return Err(Error::failed(
            format!("{target} has no undo record"),
            "Firebreak has left nothing on it",
            "there is no record to drop",
        ));
    }
    let loans = undo::record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    // A person wants to know that an Incident is still open; what it lists makes no difference to this verb.
    ask_incidents(connection, &loans).await;
    let fields: Vec<FieldChange> = loans.into_iter().flat_map(|loan| loan.fields).collect();
    let borrower = Borrower::new(&connection.client, kind, target.clone());
    borrower.forget().await?;
    screen.lines(&[
        Line::styled(Style::Strong, target.to_string()).and(": the record is dropped; these values stay")
    ])?;
    let kept = |field: &FieldChange| {
        let field = FieldView::of(field);
        Line::of(format!("  {}  {}", field.path, value(field.after.as_deref())))
            .add(Style::Faint, format!("  (before the emergency: {})", value(field.before.as_deref())))
    };
    screen.lines(&fields.iter().map(kept).collect::<Vec<_>>())?;
    say_ownership(screen, borrower.hand_back(&fields).await?)?;
    Ok(Answer::Yes)
}

/// The object with this name. A name may stand for several kinds: then the one whose object has a record of its own.
async fn find(
    connection: &Connection,
    wanted: &ObjectName,
    namespace: &str,
) -> Result<(ServedKind, Value), Error> {
    let called = format!("{}/{}", wanted.kind, wanted.name);
    let found = kinds::find(&connection.client, &wanted.kind).await;
    let found = found.map_err(|error| Error::request(format!("cannot find the kind of {called}"), &error))?;
    if found.is_empty() {
        return Err(Error::failed(
            format!("cannot find {called}"),
            format!("the cluster has no kind {}", wanted.kind),
            "`kubectl api-resources` lists the kinds",
        ));
    }
    let mut first = None;
    for kind in found {
        let read = live_read::named(&connection.client, &kind, namespace, &wanted.name).await;
        match read {
            Read::Found(object) if leftovers::has_its_own(&object) => return Ok((kind, object)),
            Read::Found(object) => first = first.or(Some((kind, object))),
            Read::Gone => {}
            Read::Refused(why) | Read::Failed(why) => {
                if first.is_none() {
                    let next = "ask the cluster administrator for permission to get and patch it, or choose \
                        another --context";
                    return Err(Error::failed(format!("cannot read {called}"), why, next));
                }
            }
        }
    }
    first.ok_or_else(|| {
        Error::failed(
            format!("cannot find {called}"),
            format!("there is no such object in namespace {namespace}"),
            "set the namespace with -n",
        )
    })
}

fn identify(object: &Value) -> Option<TargetId> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some(TargetId {
        api_version: text("/apiVersion")?,
        kind: text("/kind")?,
        namespace: text("/metadata/namespace").unwrap_or_default(),
        name: text("/metadata/name")?,
        uid: text("/metadata/uid")?,
    })
}

/// What the Incidents of these loans say about them. An Incident that is still open, or cannot be read, is no obstacle, but
/// worth a note.
async fn ask_incidents(connection: &Connection, loans: &[Loan]) -> Journals {
    let mut incidents: Vec<String> = loans.iter().map(|loan| loan.incident.clone()).collect();
    incidents.dedup();
    let mut journals = Journals::default();
    for incident in incidents {
        let parts: Vec<&str> = incident.split('/').collect();
        let &[namespace, name, uid] = parts.as_slice() else { continue };
        match connection.find_incident(namespace, name).await {
            Ok(Some(found)) if found.metadata.uid.as_deref() != Some(uid) => {}
            Ok(Some(found)) if found.is_closed() => {
                journals.ended.extend(found.ended_loans());
            }
            Ok(Some(found)) => {
                journals
                    .outstanding
                    .extend(found.outstanding().map(|change| (change.id.clone(), change.fields().to_vec())));
                note(&format!(
                    "Incident {namespace}/{name} is still open: the operator treats this as reverted by hand \
                        (Reverted or Ceded) and does not apply it again; `firebreak withdraw {name} -n \
                        {namespace}` reverts all changes"
                ));
            }
            Ok(None) => {}
            Err(error) => {
                note(&format!("cannot tell whether Incident {namespace}/{name} is still open: {error}"))
            }
        }
    }
    journals
}

fn field_line(field: &FieldChange) -> Line {
    let field = FieldView::of(field);
    let before = value(field.before.as_deref());
    match &field.ceded_to {
        None => Line::of("    ").add(Style::Good, "reverted  ").and(format!(
            "{}  {} → {before}",
            field.path,
            value(field.after.as_deref())
        )),
        Some(owner) => Line::of("    ")
            .add(Style::Busy, "left      ")
            .and(format!("{}  now belongs to {owner}", field.path))
            .add(Style::Faint, format!("  (before the emergency: {before})")),
    }
}

fn say_ownership(screen: &Screen, handed_back: HandedBack) -> Result<(), Error> {
    match handed_back {
        HandedBack::Done => screen.lines(&[Line::of("  field ownership is restored")]),
        HandedBack::NothingToDo => Ok(()),
        HandedBack::Refused(why) => {
            note(&format!(
                "the manager {} still owns the fields: {why}; the next server-side apply by their owner \
                    needs --force-conflicts once",
                names::MANAGER
            ));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_says_what_became_of_it() {
        let field = |ceded_to: Option<&str>| FieldChange {
            path: "/spec/replicas".parse().unwrap(),
            before: Some(json!(3)),
            after: None,
            created: None,
            owner: None,
            ceded_to: ceded_to.map(str::to_owned),
            beside: None,
        };
        let text =
            super::super::screen::plain(&[field_line(&field(None)), field_line(&field(Some("hpa/Update")))]);
        insta::assert_snapshot!(text);
    }
}
