//! The style that matters, held by a test: which way imports point, that no files import each
//! other in a circle, how long files are, and which names say nothing. What clippy can hold,
//! clippy holds: `[lints]` in Cargo.toml, clippy.toml and the head of `src/lib.rs`.
//!
//! The rules read the sources as text. What is under `#[cfg(test)]` or in a `tests` file is
//! not judged.

mod hosts;
mod imports;
mod rules;
mod source;

use rules::Rule;
use source::{Source, sources};

/// Fails with all faults at once.
#[track_caller]
fn holds(what: &str, rule: Rule) {
    let faults = rule(&sources());
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
}

/// The rule finds a fault in these sources.
#[track_caller]
fn finds(rule: Rule, expected: &str, files: &[(&str, &str)]) {
    let sources: Vec<Source> = files
        .iter()
        .map(|(path, text)| Source::new(*path, *text))
        .collect();
    assert_eq!(rule(&sources), [expected]);
}

#[test]
fn imports_point_down_the_list_of_modules() {
    holds("imports point down only", rules::imports_point_down);
    let app = ("app/mod.rs", "//! A.\npub struct App;");
    let upwards = ("dispatch/mod.rs", "//! D.\nuse crate::app::App;");
    let expected = "dispatch/mod.rs imports app/mod.rs: App";
    finds(rules::imports_point_down, expected, &[app, upwards]);
    let unknown = ("misc.rs", "//! M.");
    let expected = "misc.rs: the module misc is not in the list";
    finds(rules::imports_point_down, expected, &[unknown]);
    let main = ("main.rs", "//! M.\nfn main() { outboxd::daemon::run() }");
    finds(
        rules::imports_point_down,
        "main.rs:2 goes past cli",
        &[main],
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    holds("no circle of files", rules::no_circles);
    let one = ("clock.rs", "//! C.\npub fn now() { crate::domain::f() }");
    let other = (
        "domain/mod.rs",
        "//! D.\npub fn f() { crate::clock::now() }",
    );
    let expected = "clock.rs -> domain/mod.rs (f); domain/mod.rs -> clock.rs (now)";
    finds(rules::no_circles, expected, &[one, other]);
}

#[test]
fn the_domain_has_no_input_and_output_no_clock_and_no_dice() {
    holds("domain only decides", rules::domain_is_pure);
    let clock = ("domain/a.rs", "//! A.\nfn f() { Instant::now() }");
    finds(
        rules::domain_is_pure,
        "domain/a.rs:2: Instant::now",
        &[clock],
    );
}

#[test]
fn files_have_at_most_500_lines() {
    holds("a file has 500 lines at most", rules::files_are_short);
    let long = "//! A.\n".to_owned() + &"fn f() {}\n".repeat(500);
    finds(
        rules::files_are_short,
        "a.rs: 501 lines",
        &[("a.rs", &long)],
    );
    let tested = "//! A.\n#[cfg(test)]\nmod tests {\n".to_owned() + &"\n".repeat(500) + "}\n";
    assert!(rules::files_are_short(&[Source::new("a.rs", tested)]).is_empty());
}

#[test]
fn every_expect_says_why_it_cannot_fail() {
    let what = "an expect, or a comment on or above its line, says why it holds";
    holds(what, rules::expects_have_reasons);
    let bare = ("a.rs", "//! A.\n\nfn f() { g().expect(\"oh no\") }");
    finds(rules::expects_have_reasons, "a.rs:3", &[bare]);
    let said = "//! A.\n// It was checked above.\nfn f() { g().expect(\"checked\") }";
    assert!(rules::expects_have_reasons(&[Source::new("a.rs", said)]).is_empty());
}

#[test]
fn one_place_knows_sled() {
    holds("sled is known in one place", rules::one_place_knows_sled);
    let known = ("outbox/index/pages.rs", "use sled::Db;");
    let other = ("outbox/mod.rs", "//! O.\nfn f(db: sled::Db) {}");
    let rule = rules::one_place_knows_sled;
    finds(rule, "outbox/mod.rs:2", &[known, other]);
    finds(rule, "the place that knows sled has moved", &[("a.rs", "")]);
}

#[test]
fn names_say_what_they_name() {
    holds("names that say nothing", rules::names_say_something);
    let empty = ("a.rs", "//! A.\nstruct QueueManager;");
    finds(rules::names_say_something, "a.rs:2: QueueManager", &[empty]);
}

#[test]
fn every_file_says_what_it_is_for() {
    holds("a file begins with its `//!` doc", rules::files_have_docs);
    finds(rules::files_have_docs, "a.rs", &[("a.rs", "struct A;")]);
}
