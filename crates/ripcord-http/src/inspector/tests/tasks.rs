//! Tests the tasks below entries.

use serde_json::{Value, json};

use super::{Inspector, Request, SECOND, json as snapshot, manual, names};

/// Returns each task of an entry: its name, and whether its context has ended.
fn tasks(entry: &Value) -> Vec<(&str, bool)> {
    let tasks = entry["tasks"].as_array().expect("a list").iter();
    tasks.map(|task| (task["name"].as_str().expect("a name"), task["is_ended"].as_bool().expect("a bool"))).collect()
}

#[test]
fn task_is_shown_below_its_request_with_the_line_of_its_spawn_until_it_is_gone() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /export");
    let other = Request::start(&inspector, &server, "GET /other");
    let line = line!() + 1;
    let task = request.ctx.with_name("write the file").task_guard();
    time.advance(2 * SECOND);

    let live = snapshot(&inspector)["live"].clone();
    assert_eq!(names(&live), ["GET /export", "GET /other"]);
    let [shown] = &live[0]["tasks"].as_array().unwrap()[..] else { panic!("one task, not {live}") };
    assert_eq!((&shown["name"], &shown["age_ms"]), (&json!("write the file"), &json!(2000.0)));
    let location = shown["location"].as_str().unwrap();
    assert!(location.starts_with(&format!("{}:{line}:", file!())), "{location}");
    assert_eq!((tasks(&live[0]), tasks(&live[1])), (vec![("write the file", false)], vec![]));

    // The answer ends the context. A task that does not check the context continues.
    drop(request.answer(200));
    assert_eq!(tasks(&snapshot(&inspector)["live"][0]), [("write the file", true)]);
    drop(task);
    assert_eq!(names(&snapshot(&inspector)["live"]), ["GET /other"]);
    drop(other);
}

#[test]
fn task_of_watched_work_is_shown_once_below_the_nearest_entry() {
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /");
    let job = inspector.watch(&request.ctx.with_name("job"));
    let alone = inspector.watch(&server.with_name("alone"));
    let guards = [request.ctx.with_name("a"), job.with_name("b"), alone.with_name("c"), server.with_name("d")]
        .map(|ctx| ctx.task_guard());

    let live = snapshot(&inspector)["live"].clone();
    let entries = live.as_array().unwrap().iter();
    let all: Vec<_> = entries.map(|entry| (entry["name"].as_str().unwrap(), tasks(entry))).collect();
    let shown = |name| all.iter().find(|(entry, _)| *entry == name).unwrap().1.clone();
    assert_eq!(shown("GET /"), [("a", false)]);
    assert_eq!(shown("job"), [("b", false)]);
    assert_eq!(shown("alone"), [("c", false)]);
    assert_eq!(all.len(), 3, "the server's own task belongs to no entry");
    drop(guards);
}

#[test]
fn list_shows_ended_tasks_first_and_counts_the_rest() {
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /");
    let mut guards: Vec<_> = (0..25).map(|_| request.ctx.with_name("running").task_guard()).collect();
    let (ctx, cancel) = request.ctx.with_name("late").with_cancel();
    guards.push(ctx.task_guard());
    cancel.cancel();

    let live = snapshot(&inspector)["live"][0].clone();
    let shown = tasks(&live);
    assert_eq!((shown.len(), shown[0], shown[1]), (20, ("late", true), ("running", false)));
    assert_eq!(live["tasks_not_shown"], 6);
    let id = live["id"].as_u64().unwrap();
    let whole = super::super::snapshot::one(&inspector.shared.registry, &inspector.shared.tasks(), id).unwrap();
    let whole = serde_json::to_value(whole).unwrap();
    assert_eq!((tasks(&whole).len(), &whole["tasks_not_shown"]), (26, &json!(0)));
}
