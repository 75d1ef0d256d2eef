//! Which file imports which, read from the paths that the code names.
//!
//! A path leads to the file that defines its item: re-exports are followed, and a `mod`
//! declaration or a `pub use` is not an import by itself. It is one when the code that stands
//! beside it uses the name.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, words};

/// A module, as the names from the root to it.
type Module = Vec<String>;

/// A name that a file brings into scope.
#[derive(Debug)]
struct Use {
    /// `*` for all of them.
    name: String,
    path: Vec<String>,
    /// `pub use`: it is handed on.
    exported: bool,
}

/// What is read of one file.
struct File<'a> {
    module: Module,
    uses: Vec<Use>,
    /// The code without its `use` statements.
    body: String,
    source: &'a Source,
}

/// File to file, with the names that are taken.
pub type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The imports of these sources, `main.rs` left out: it is a crate of its own.
pub fn imports(sources: &[Source]) -> Imports {
    let files: Vec<File<'_>> = sources
        .iter()
        .filter(|source| source.path != "main.rs")
        .map(File::read)
        .collect();
    let modules: BTreeMap<&Module, &File<'_>> =
        files.iter().map(|file| (&file.module, file)).collect();
    let mut imports = Imports::new();
    for file in &files {
        for path in file.used_paths(&modules) {
            let Some(defined) = resolve(&file.module, &path, &modules, 0) else {
                continue;
            };
            if defined.source.path != file.source.path {
                let to = imports.entry(file.source.path.clone()).or_default();
                let names = to.entry(defined.source.path.clone()).or_default();
                names.insert(path.last().cloned().unwrap_or_default());
            }
        }
    }
    imports
}

/// The circles of files: each a set of files that import each other, directly or not.
pub fn circles(imports: &Imports) -> Vec<BTreeSet<&str>> {
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for file in imports.keys() {
        if found.iter().any(|circle| circle.contains(file.as_str())) {
            continue;
        }
        let circle: BTreeSet<&str> = reachable(imports, file)
            .into_iter()
            .filter(|other| reachable(imports, other).contains(file.as_str()))
            .collect();
        if !circle.is_empty() {
            found.push(circle);
        }
    }
    found
}

fn reachable<'a>(imports: &'a Imports, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(file) = next.pop() {
        for to in imports.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(to.as_str()) {
                next.push(to.clone());
            }
        }
    }
    seen
}

impl<'a> File<'a> {
    fn read(source: &'a Source) -> File<'a> {
        let (uses, body) = split_uses(&source.code);
        File {
            module: module_of(&source.path),
            uses,
            body,
            source,
        }
    }

    /// The paths that the file's own code takes something by. What it only re-exports is
    /// left out, and so is a path whose first name is not one of ours.
    fn used_paths(&self, modules: &BTreeMap<&Module, &File<'_>>) -> Vec<Vec<String>> {
        let mut body_words = BTreeSet::new();
        let mut before = "";
        for (_, word) in words(&self.body) {
            // The declaration of a module uses nothing.
            if before != "mod" {
                body_words.insert(word);
            }
            before = word;
        }
        let taken = |name: &Use| !name.exported || body_words.contains(name.name.as_str());
        let mut paths: Vec<Vec<String>> = self
            .uses
            .iter()
            .filter(|name| taken(name))
            .map(|name| name.path.clone())
            .collect();
        for path in paths_of(&self.body) {
            let mut child = self.module.clone();
            child.push(path[0].clone());
            let ours = ["crate", "super", "self"].contains(&path[0].as_str());
            if ours || modules.contains_key(&child) {
                paths.push(path);
            }
        }
        paths
    }

    fn defines(&self, name: &str) -> bool {
        let mut before = "";
        words(&self.body).any(|(_, word)| {
            let kinds = [
                "struct", "enum", "trait", "type", "fn", "const", "static", "union",
            ];
            let defined = word == name && kinds.contains(&before);
            before = word;
            defined
        })
    }
}

/// The file that defines what `path` names, seen from `from`; `None` if it is not ours.
fn resolve<'m, 'a>(
    from: &Module,
    path: &[String],
    modules: &BTreeMap<&'m Module, &'m File<'a>>,
    depth: usize,
) -> Option<&'m File<'a>> {
    let (mut module, mut rest) = match path.first()?.as_str() {
        "crate" => (Module::new(), &path[1..]),
        "self" => (from.clone(), &path[1..]),
        "super" => (from[..from.len().checked_sub(1)?].to_vec(), &path[1..]),
        _ => (from.clone(), path),
    };
    let named_here = rest.len() == path.len();
    while let Some((name, after)) = rest.split_first() {
        if name == "super" {
            module.pop()?;
            rest = after;
            continue;
        }
        let mut child = module.clone();
        child.push(name.clone());
        if !modules.contains_key(&child) {
            break;
        }
        (module, rest) = (child, after);
    }
    let file = *modules.get(&module)?;
    let Some(item) = rest.first().filter(|name| *name != "*" && *name != "self") else {
        return (!named_here || module != *from).then_some(file);
    };
    if named_here && module == *from {
        // A name of another crate, or of this very file.
        return None;
    }
    if depth > 8 || file.defines(item) {
        return Some(file);
    }
    let follow = |name: &Use| resolve(&module, &name.path, modules, depth + 1);
    if let Some(exported) = file.uses.iter().find(|name| name.name == *item) {
        return follow(exported).or(Some(file));
    }
    let globs = file.uses.iter().filter(|name| name.name == "*");
    let mut behind = globs.filter_map(follow);
    Some(behind.find(|other| other.defines(item)).unwrap_or(file))
}

/// `api/mod.rs` is the module `api`, and `lib.rs` the root.
fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let mut names: Module = path.split('/').map(str::to_owned).collect();
    if names
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        names.pop();
    }
    names
}

/// The names that the `use` statements bring in, and the code without the statements.
fn split_uses(code: &str) -> (Vec<Use>, String) {
    let (mut uses, mut body) = (Vec::new(), String::new());
    let mut rest = code;
    while let Some((start, _)) = words(rest).find(|(_, word)| *word == "use") {
        let end = rest[start..].find(';').map_or(rest.len(), |at| start + at);
        body.push_str(&rest[..start]);
        let exported = is_public(&rest[..start]);
        expand(&rest[start + "use".len()..end], &[], exported, &mut uses);
        rest = &rest[end..];
    }
    body.push_str(rest);
    (uses, body)
}

/// Whether `pub`, or `pub(…)`, stands at the end.
fn is_public(before: &str) -> bool {
    let before = before.trim_end();
    let word = match before.strip_suffix(')') {
        Some(inner) => inner.rsplit_once('(').map_or("", |(word, _)| word),
        None => before,
    };
    word.ends_with("pub")
}

/// Takes a `use` tree apart: `a::{b, c as d}` are `a::b` and, named `d`, `a::c`.
fn expand(tree: &str, before: &[String], exported: bool, uses: &mut Vec<Use>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let mut path = before.to_vec();
        path.extend(names(head));
        let group = &group[..group.rfind('}').unwrap_or(group.len())];
        for item in split_group(group) {
            expand(item, &path, exported, uses);
        }
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (path, name) = match tree.split_once(" as ") {
        Some((path, name)) => (path, name.trim().to_owned()),
        None => (tree, String::new()),
    };
    let mut full = before.to_vec();
    full.extend(names(path));
    if full.len() > 1 && full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    let last = full.last().cloned().unwrap_or_default();
    uses.push(Use {
        name: if name.is_empty() { last } else { name },
        path: full,
        exported,
    });
}

/// The names of a path.
fn names(path: &str) -> impl Iterator<Item = String> + '_ {
    let parts = path.split("::").map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned)
}

/// The items of a group, commas within braces left alone.
fn split_group(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&group[start..]);
    items
}

/// The paths of two names or more that stand in the code.
fn paths_of(code: &str) -> Vec<Vec<String>> {
    let mut paths: Vec<Vec<String>> = Vec::new();
    let mut end = usize::MAX;
    for (at, word) in words(code) {
        let joined = end < at && code[end..at].trim() == "::";
        match paths.last_mut() {
            Some(path) if joined => path.push(word.to_owned()),
            _ => paths.push(vec![word.to_owned()]),
        }
        end = at + word.len();
    }
    paths.retain(|path| path.len() > 1);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Imports {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(*path, *text))
            .collect();
        imports(&sources)
    }

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let imports = read(files);
        let circles = circles(&imports).into_iter();
        circles
            .map(|circle| circle.into_iter().map(str::to_owned).collect())
            .collect()
    }

    #[test]
    fn a_parent_that_re_exports_its_children_does_not_import_them() {
        let files = [
            ("lib.rs", "pub mod a;"),
            ("a/mod.rs", "mod b;\npub use b::{B, b};\npub struct A;"),
            ("a/b.rs", "use super::A;\npub struct B(A);\npub fn b() {}"),
        ];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn a_parent_that_uses_a_child_which_uses_the_parent_is_a_circle() {
        for parent in [
            "mod b;\nuse b::B;\npub struct A(B);",
            "mod b;\npub use b::B;\npub struct A(B);",
            "mod b;\npub struct A(b::B);",
            "mod b;\npub struct A(self::b::B);",
        ] {
            let files = [
                ("a/mod.rs", parent),
                ("a/b.rs", "pub struct B;\nfn f() -> super::A { todo() }"),
            ];
            assert_eq!(found(&files), [["a/b.rs", "a/mod.rs"]], "{parent}");
        }
    }

    #[test]
    fn re_exports_are_followed_to_the_file_that_defines() {
        let imports = read(&[
            (
                "a/mod.rs",
                "pub mod b;\nmod c;\npub use b::B as X;\npub use c::*;",
            ),
            ("a/b.rs", "pub struct B;"),
            ("a/c.rs", "pub enum C { One }"),
            (
                "d.rs",
                "use crate::a::{X, C::{self, One}};\nfn f(x: X, c: C) { One }",
            ),
        ]);
        let to: Vec<&String> = imports["d.rs"].keys().collect();
        assert_eq!(to, ["a/b.rs", "a/c.rs"]);
    }

    #[test]
    fn circles_go_round_several_files() {
        let files = [
            ("a.rs", "fn f() { crate::b::g() }"),
            ("b.rs", "use crate::c::h;\npub fn g() { h() }"),
            ("c.rs", "use super::a;\npub fn h() { a::f() }"),
            ("d.rs", "use crate::{a, b::g};\nfn i() { a::f(); g() }"),
        ];
        assert_eq!(found(&files), [["a.rs", "b.rs", "c.rs"]]);
    }
}
