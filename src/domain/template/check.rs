//! What a source may be before the engine parses it.
//!
//! The engine's parser and code generator recurse over chains (`a + a + …`, `a.b.c…`, `|e|e…`,
//! `elif`), without a limit of their own, and a stack that overflows ends the process. So a pass
//! over the tokens, which does not recurse, bounds the height of every expression and the depth
//! of the blocks. It also gives better words for statements that do not exist here.

use minijinja::Error;
use minijinja::machinery::{Span, Token, tokenize};

use super::bad_template::BadTemplate;

/// The longest source, in bytes. Reading a hostile one of that length takes half of the 10 ms that a
/// template may cost; those of the presets have less than 1 KiB.
pub(super) const MAX_SOURCE: usize = 32 * 1024;

/// The most operators, attributes, filters and brackets that build on one another.
pub(super) const MAX_HEIGHT: usize = 64;

/// The most brackets inside one another.
pub(super) const MAX_BRACKETS: usize = 16;

/// The most blocks inside one another, each `elif` counted as one more.
pub(super) const MAX_BLOCKS: usize = 48;

/// Checks a source.
///
/// # Errors
/// Where it goes over a limit, what is wrong, and how to fix it.
pub(super) fn check(source: &str) -> Result<(), BadTemplate> {
    if source.len() > MAX_SOURCE {
        return Err(BadTemplate {
            line: 1,
            column: None,
            problem: format!("the template has {} bytes", source.len()),
            fix: format!("shorten it to at most {MAX_SOURCE} bytes"),
        });
    }
    let mut blocks = Blocks::default();
    let mut tag = None;
    let mut is_first = false;
    for token in tokenize(source, false, Default::default()) {
        let (token, span) = token.map_err(|error| syntax(&error))?;
        match token {
            Token::TemplateData(_) => {}
            Token::VariableStart => tag = Some(Expression::default()),
            Token::BlockStart => {
                tag = Some(Expression::default());
                is_first = true;
            }
            Token::VariableEnd | Token::BlockEnd => {
                blocks.end_tag();
                tag = None;
            }
            token => {
                if std::mem::take(&mut is_first) {
                    if let Token::Ident(name) = token {
                        blocks.statement(name, span)?;
                    }
                    continue;
                }
                blocks.token(&token);
                if let Some(tag) = &mut tag {
                    tag.token(&token, span)?;
                }
            }
        }
    }
    Ok(())
}

/// A fault that the engine found in the source.
pub(super) fn syntax(error: &Error) -> BadTemplate {
    let detail = error.detail().unwrap_or("it cannot be read");
    let mut problem: String = detail.chars().take(200).collect();
    if problem.len() < detail.len() {
        problem.push('…');
    }
    BadTemplate {
        line: error.line().unwrap_or(1),
        column: None,
        problem,
        fix: "correct the syntax (Jinja) at this place".to_owned(),
    }
}

pub(super) fn bad(span: Span, problem: impl Into<String>, fix: impl Into<String>) -> BadTemplate {
    BadTemplate {
        line: usize::from(span.start_line),
        column: Some(usize::from(span.start_col) + 1),
        problem: problem.into(),
        fix: fix.into(),
    }
}

/// The open blocks, as the number of levels that each takes.
#[derive(Default)]
struct Blocks {
    open: Vec<usize>,
    depth: usize,
    /// The tag opens a `set` block, unless a `=` follows.
    set: bool,
}

impl Blocks {
    fn statement(&mut self, name: &str, span: Span) -> Result<(), BadTemplate> {
        match name {
            "if" | "for" | "with" | "filter" => self.deeper(true, span),
            "set" => {
                self.set = true;
                self.deeper(true, span)
            }
            "elif" => self.deeper(false, span),
            "else" => Ok(()),
            "endif" | "endfor" | "endwith" | "endfilter" | "endset" => {
                self.close();
                Ok(())
            }
            // The tokenizer has handled `raw`. A name that is long may hold anything.
            name => {
                let name: String = name.chars().take(40).collect();
                Err(bad(
                    span,
                    format!("there is no statement `{name}`"),
                    "use `if`, `for`, `set`, `with`, `filter` or `raw`",
                ))
            }
        }
    }

    fn deeper(&mut self, opens: bool, span: Span) -> Result<(), BadTemplate> {
        match self.open.last_mut() {
            Some(levels) if !opens => *levels += 1,
            _ => self.open.push(1),
        }
        self.depth += 1;
        if self.depth > MAX_BLOCKS {
            return Err(bad(
                span,
                format!("blocks and `elif` nest deeper than {MAX_BLOCKS}"),
                "end blocks earlier, or join conditions with `and` and `or`",
            ));
        }
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= self.open.pop().unwrap_or(0);
    }

    fn token(&mut self, token: &Token) {
        // `{% set x = 1 %}` has no end.
        if self.set && matches!(token, Token::Assign) {
            self.set = false;
            self.close();
        }
    }

    fn end_tag(&mut self) {
        self.set = false;
    }
}

/// The expression of one tag. Its height is at most the number of operators of an element plus
/// the height of the highest bracket in it; a comma begins a new element.
struct Expression {
    open: Vec<Level>,
}

#[derive(Default)]
struct Level {
    operators: usize,
    /// The height of the highest bracket in the element.
    within: usize,
    /// The height of the highest element so far.
    height: usize,
}

impl Default for Expression {
    fn default() -> Self {
        Expression {
            open: vec![Level::default()],
        }
    }
}

impl Expression {
    fn token(&mut self, token: &Token, span: Span) -> Result<(), BadTemplate> {
        match token {
            Token::Comma | Token::Colon | Token::Assign => self.end_element(),
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen => {
                self.operator(span)?;
                self.open.push(Level::default());
                if self.open.len() > MAX_BRACKETS + 1 {
                    return Err(bad(
                        span,
                        format!("brackets nest deeper than {MAX_BRACKETS}"),
                        "put inner parts into names with `{% set name = … %}`",
                    ));
                }
            }
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                self.end_element();
                if self.open.len() > 1
                    && let Some(closed) = self.open.pop()
                    && let Some(level) = self.open.last_mut()
                {
                    level.within = level.within.max(closed.height + 1);
                }
            }
            Token::Ident("not" | "is" | "if" | "else" | "and" | "or" | "in") => {
                return self.operator(span);
            }
            Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::TemplateData(_)
            | Token::VariableStart
            | Token::VariableEnd
            | Token::BlockStart
            | Token::BlockEnd => {}
            _ => return self.operator(span),
        }
        self.limit(span)
    }

    fn operator(&mut self, span: Span) -> Result<(), BadTemplate> {
        if let Some(level) = self.open.last_mut() {
            level.operators += 1;
        }
        self.limit(span)
    }

    fn end_element(&mut self) {
        if let Some(level) = self.open.last_mut() {
            level.height = level.height.max(level.operators + level.within);
            level.operators = 0;
            level.within = 0;
        }
    }

    fn limit(&self, span: Span) -> Result<(), BadTemplate> {
        let pending: usize = self.open.iter().map(|level| level.operators).sum();
        let highest = self
            .open
            .iter()
            .map(|level| level.height.max(level.operators + level.within))
            .max()
            .unwrap_or(0);
        if pending.max(highest) <= MAX_HEIGHT {
            return Ok(());
        }
        Err(bad(
            span,
            format!("more than {MAX_HEIGHT} operators, attributes or filters build on one another"),
            "split the expression with `{% set name = … %}`",
        ))
    }
}
