//! Templates that try to use up memory, time or the stack, each over small and large events.
//!
//! The one test has a binary to itself, since it measures the memory of the whole process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outboxd::domain::json::Json;
use outboxd::domain::template::{EventFields, Limits, Names, Output, Template};
use peak_alloc::PeakAlloc;

#[path = "../benches/hostile/templates.rs"]
mod table;

use table::{documents, sources};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LIMITS: Limits = Limits {
    steps: Limits::STEPS,
    output: 1 << 20,
};
/// The longest source that is read, in bytes.
const LONGEST_SOURCE: usize = 32 * 1024;
const STACK: usize = 512 * 1024;
const MEMORY_LIMIT: usize = 16 << 20;

fn names(data: &Arc<Json>) -> Names {
    Names::of_event(EventFields::default(), Some(data.clone())).with_json("d", data.clone())
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        out.push('\\');
        out.push(c);
    }
}

/// What came out, how long it took and the memory over the start.
fn run(source: &str, output: Output, data: &Arc<Json>) -> (&'static str, Duration, usize) {
    let start = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let (source, data) = (source.to_owned(), data.clone());
    let thread = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let names = names(&data);
            let begun = Instant::now();
            let ended = match Template::parse(&source, output) {
                Err(_) => "refused",
                Ok(template) => match template.render(&names, LIMITS) {
                    Err(fault) => {
                        assert!(fault.message.len() <= 300);
                        "stopped"
                    }
                    Ok(text) => {
                        assert!(text.len() <= LIMITS.output);
                        "rendered"
                    }
                },
            };
            (ended, begun.elapsed())
        });
    let (ended, time) = thread.unwrap().join().unwrap();
    (ended, time, MEMORY.peak_usage().saturating_sub(start))
}

#[test]
fn hostile_templates_end_within_memory_on_a_small_stack() {
    let table = sources();
    assert!(table.len() >= 60);
    // What is refused for its length alone tries nothing else.
    let long = table
        .iter()
        .filter(|(_, source)| source.len() > LONGEST_SOURCE);
    let long: Vec<_> = long.map(|(name, source)| (*name, source.len())).collect();
    assert_eq!(long, [("too long", LONGEST_SOURCE + 1)]);
    let documents = documents();
    let mut most = (0, String::new());
    let mut too_much = Vec::new();
    let mut ends = std::collections::BTreeMap::new();
    for (name, source) in &table {
        for (n, data) in documents.iter().enumerate() {
            let outputs = [Output::Text, Output::Json, Output::Escaped(escape)];
            // All outputs over one large and the small event; the engine's part is the same.
            let count = if n == 2 || n + 1 == documents.len() {
                outputs.len()
            } else {
                1
            };
            for output in outputs.into_iter().take(count) {
                let (ended, time, memory) = run(source, output, data);
                *ends.entry(ended).or_insert(0) += 1;
                if memory > most.0 {
                    most = (memory, format!("{name} over document {n} {output:?}"));
                }
                if memory > MEMORY_LIMIT {
                    too_much.push(format!("{name} over document {n}: {memory} bytes"));
                }
                assert!(
                    time < Duration::from_secs(5),
                    "{name} over document {n}: {time:?}"
                );
            }
        }
    }
    assert!(too_much.is_empty(), "{too_much:#?}");
    for end in ["refused", "stopped", "rendered"] {
        assert!(ends.contains_key(end), "none is {end}: {ends:?}");
    }
    println!("{ends:?}; most memory: {} bytes, {}", most.0, most.1);
}
