//! The pages, and what stands in them: blocks of code, links, headings.

use std::path::{Path, PathBuf};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub fn read(name: &str) -> String {
    let path = Path::new(ROOT).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between two backticks on one line.
pub fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A page of the documentation.
pub struct Page {
    /// From the top of the repository, such as `docs/api.md`.
    pub name: String,
    pub text: String,
}

/// All of them.
pub fn pages() -> Vec<Page> {
    let mut names: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]
        .map(PathBuf::from)
        .to_vec();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(Path::new(ROOT).join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(name);
            } else if name.extension().is_some_and(|end| end == "md") {
                names.push(name);
            }
        }
    }
    names.sort();
    let names = names.into_iter().map(|name| name.display().to_string());
    names
        .map(|name| Page {
            text: read(&name),
            name,
        })
        .collect()
}

/// A block of code.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands behind the fence; `None` if the block is indented.
    pub language: Option<String>,
    /// Of its first line, from 1.
    pub line: usize,
    pub text: String,
}

impl Page {
    /// The lines of the page that are not in blocks of code.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut in_fence = false;
        let mut lines = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                in_fence = !in_fence;
            } else if !in_fence && !line.starts_with("    ") {
                lines.push((number + 1, line));
            }
        }
        lines
    }

    /// Blocks of code, fenced or indented by four spaces.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut fence: Option<Block> = None;
        // Whether the line before belongs to an indented block.
        let mut follows = false;
        for (number, line) in self.text.lines().enumerate() {
            let mark = line.trim_start().strip_prefix("```");
            if let Some(mut block) = fence.take() {
                if mark.is_some() {
                    blocks.push(block);
                } else {
                    block.text += line;
                    block.text.push('\n');
                    fence = Some(block);
                }
                continue;
            }
            let indented = line.strip_prefix("    ");
            if let Some(language) = mark {
                fence = Some(Block {
                    language: Some(language.trim().to_owned()),
                    line: number + 2,
                    text: String::new(),
                });
            } else if let Some(code) = indented {
                if !follows {
                    blocks.push(Block {
                        language: None,
                        line: number + 1,
                        text: String::new(),
                    });
                }
                let block = blocks.last_mut().expect("one was pushed");
                block.text += code;
                block.text.push('\n');
            }
            follows = indented.is_some() && mark.is_none();
        }
        assert!(fence.is_none(), "{}: a fence is not closed", self.name);
        blocks
    }

    /// Blocks in this language.
    pub fn in_language(&self, language: &str) -> Vec<Block> {
        let mut blocks = self.blocks();
        blocks.retain(|block| block.language.as_deref() == Some(language));
        blocks
    }

    /// The anchors of its headings, as the usual renderers of Markdown make them.
    pub fn anchors(&self) -> Vec<String> {
        let mut anchors = Vec::new();
        for (_, line) in self.prose() {
            let Some((marks, title)) = line.split_once(' ') else {
                continue;
            };
            if marks.is_empty() || marks.chars().any(|c| c != '#') {
                continue;
            }
            let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
            let title: String = title.to_lowercase().chars().filter(kept).collect();
            anchors.push(title.trim().replace(' ', "-"));
        }
        anchors
    }

    /// Lines of shell: of indented blocks, and of those fenced as `sh` or without a language. A
    /// line that ends in a backslash, or inside of quotes, goes on in the next.
    pub fn shell(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for block in self.blocks() {
            if !matches!(block.language.as_deref(), None | Some("" | "sh")) {
                continue;
            }
            let mut open: Option<(usize, String)> = None;
            for (number, line) in block.text.lines().enumerate() {
                let (from, text) = match open.take() {
                    Some((from, before)) => (from, before + "\n" + line),
                    None => (block.line + number, line.to_owned()),
                };
                if let Some(before) = text.strip_suffix('\\') {
                    open = Some((from, before.to_owned()));
                } else if is_command(&text) && words(&text).is_none() {
                    open = Some((from, text));
                } else {
                    found.push((from, text));
                }
            }
            if let Some((from, text)) = open {
                panic!("{}:{from}: the line does not end: {text}", self.name);
            }
        }
        found
    }
}

/// Whether a line is one that is tried.
fn is_command(line: &str) -> bool {
    ["outboxd ", "curl "]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// The words of a simple command, up to a comment, pipe or redirection. `None`: a quote is open.
pub fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => break,
            '|' | '>' | '<' | '&' | ';' => break,
            '\'' => {
                let escapes = word.as_deref() == Some("$");
                let text = word.get_or_insert_default();
                if escapes {
                    text.clear();
                }
                loop {
                    match (chars.next()?, escapes) {
                        ('\'', _) => break,
                        ('\\', true) => text.push(match chars.next()? {
                            'n' => '\n',
                            other => other,
                        }),
                        (other, _) => text.push(other),
                    }
                }
            }
            '"' => {
                let text = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        other => text.push(other),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[test]
fn words_are_those_of_a_shell() {
    let split = |line: &str| words(line).unwrap_or_default().join("|");
    assert_eq!(split("a 'b c' --d \"e f\"  g"), "a|b c|--d|e f|g");
    assert_eq!(split("a b   # c"), "a|b");
    assert_eq!(split("a b > c"), "a|b");
    assert_eq!(split(r"a $'b\nc'"), "a|b\nc");
    assert_eq!(split("a ''"), "a|");
    assert_eq!(words("a 'b"), None);
}
