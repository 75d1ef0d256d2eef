//! The engine's syntax tree with our own operators in it.
//!
//! minijinja parses and runs templates, but its operators do not fit hostile ones: comparing
//! shared lists is exponential, slices and repeated lists are lazy and nest without a limit, and
//! constants are folded before any fuel is there. So each operator becomes a filter of a name
//! that no template can spell. What is not lowered here is refused, so a new kind of node of the
//! engine cannot slip through.

use minijinja::Value;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    self, BinOp, BinOpKind, CallArg, Const, EmitExpr, EmitRaw, Expr, Filter, FilterBlock, ForLoop,
    IfCond, IfExpr, Set, SetBlock, Spanned, Stmt, Test, UnaryOp, UnaryOpKind, Var, WithBlock,
};

use super::bad_template::BadTemplate;
use super::check::bad;
use super::filter_names::{filter_names, gives_text, is_filter};
use super::predicates::{is_test, test_names};

/// The fault is boxed so that what recurses needs little stack.
type Lowered<T> = Result<T, Box<BadTemplate>>;

fn refused(span: Span, problem: impl Into<String>, fix: impl Into<String>) -> Box<BadTemplate> {
    Box::new(bad(span, problem, fix))
}

/// Lowers a statement and what is in it.
///
/// # Errors
/// It uses something that does not exist here.
pub(super) fn statement<'a>(stmt: &Stmt<'a>) -> Lowered<Stmt<'a>> {
    match stmt {
        Stmt::Template(node) => Ok(Stmt::Template(Spanned::new(
            ast::Template {
                children: statements(&node.children)?,
            },
            node.span(),
        ))),
        Stmt::EmitRaw(node) => Ok(Stmt::EmitRaw(Spanned::new(
            EmitRaw { raw: node.raw },
            node.span(),
        ))),
        Stmt::EmitExpr(node) => emit(node),
        Stmt::ForLoop(node) => for_loop(node),
        Stmt::IfCond(node) => if_statement(node),
        Stmt::WithBlock(node) => with_block(node),
        Stmt::Set(node) => set(node),
        Stmt::SetBlock(node) => set_block(node),
        Stmt::FilterBlock(node) => filter_block(node),
        Stmt::AutoEscape(node) => Err(no_statement("autoescape", node.span())),
        Stmt::Do(node) => Err(no_statement("do", node.span())),
    }
}

fn emit<'a>(node: &Spanned<EmitExpr<'a>>) -> Lowered<Stmt<'a>> {
    let lowered = expression(&node.expr)?;
    let expr = match &node.expr {
        Expr::Filter(filter) if gives_text(filter.name) => lowered,
        _ => operator("print!", lowered, Vec::new(), node.expr.span()),
    };
    Ok(Stmt::EmitExpr(Spanned::new(EmitExpr { expr }, node.span())))
}

fn if_statement<'a>(node: &Spanned<IfCond<'a>>) -> Lowered<Stmt<'a>> {
    let expr = expression(&node.expr)?;
    let true_body = statements(&node.true_body)?;
    let false_body = statements(&node.false_body)?;
    Ok(Stmt::IfCond(Spanned::new(
        IfCond {
            expr,
            true_body,
            false_body,
        },
        node.span(),
    )))
}

fn with_block<'a>(node: &Spanned<WithBlock<'a>>) -> Lowered<Stmt<'a>> {
    let mut assignments = Vec::with_capacity(node.assignments.len());
    for (names, expr) in &node.assignments {
        assignments.push(assignment(names, expr)?);
    }
    let body = statements(&node.body)?;
    Ok(Stmt::WithBlock(Spanned::new(
        WithBlock { assignments, body },
        node.span(),
    )))
}

fn set<'a>(node: &Spanned<Set<'a>>) -> Lowered<Stmt<'a>> {
    let (target, expr) = assignment(&node.target, &node.expr)?;
    Ok(Stmt::Set(Spanned::new(Set { target, expr }, node.span())))
}

fn set_block<'a>(node: &Spanned<SetBlock<'a>>) -> Lowered<Stmt<'a>> {
    let (target, names) = target(&node.target)?;
    if names.is_some() {
        return Err(refused(
            node.span(),
            "a `set` block has several names",
            "write one name: `{% set name %}…{% endset %}`",
        ));
    }
    let filter = node.filter.as_ref().map(expression).transpose()?;
    let body = statements(&node.body)?;
    Ok(Stmt::SetBlock(Spanned::new(
        SetBlock {
            target,
            filter,
            body,
        },
        node.span(),
    )))
}

fn filter_block<'a>(node: &Spanned<FilterBlock<'a>>) -> Lowered<Stmt<'a>> {
    let filter_span = node.filter_span;
    let filter = operator("print!", expression(&node.filter)?, Vec::new(), filter_span);
    let body = statements(&node.body)?;
    Ok(Stmt::FilterBlock(Spanned::new(
        FilterBlock {
            filter,
            filter_span,
            body,
        },
        node.span(),
    )))
}

fn no_statement(name: &str, span: Span) -> Box<BadTemplate> {
    refused(
        span,
        format!("there is no statement `{name}`"),
        "use `if`, `for`, `set`, `with`, `filter` or `raw`",
    )
}

fn statements<'a>(found: &[Stmt<'a>]) -> Lowered<Vec<Stmt<'a>>> {
    found.iter().map(statement).collect()
}

fn for_loop<'a>(node: &Spanned<ForLoop<'a>>) -> Lowered<Stmt<'a>> {
    let span = node.span();
    if node.recursive {
        return Err(refused(
            span,
            "a loop is recursive",
            "loops do not call themselves here: write one loop for each level",
        ));
    }
    let (target, names) = target(&node.target)?;
    let names = names
        .map(|names| constant(Value::from(names), span))
        .into_iter()
        .collect();
    let iter = operator("iterate!", expression(&node.iter)?, names, node.iter.span());
    let filter_expr = node.filter_expr.as_ref().map(expression).transpose()?;
    let body = statements(&node.body)?;
    let else_body = statements(&node.else_body)?;
    let lowered = ForLoop {
        target,
        iter,
        filter_expr,
        recursive: false,
        body,
        else_body,
    };
    Ok(Stmt::ForLoop(Spanned::new(lowered, span)))
}

/// The names that are set, and how many if they take a list apart.
fn target<'a>(expr: &Expr<'a>) -> Lowered<(Expr<'a>, Option<usize>)> {
    match expr {
        Expr::Var(node) => Ok((variable(node), None)),
        Expr::List(node) => {
            let mut names = Vec::with_capacity(node.items.len());
            for item in &node.items {
                let Expr::Var(item) = item else {
                    return Err(refused(
                        item.span(),
                        "names nest, or set a part of a value",
                        "write plain names, as in `a, b`",
                    ));
                };
                names.push(variable(item));
            }
            let count = names.len();
            Ok((
                Expr::List(Spanned::new(ast::List { items: names }, node.span())),
                Some(count),
            ))
        }
        other => Err(refused(
            other.span(),
            "a part of a value is set",
            "values do not change: give the new value a name of its own",
        )),
    }
}

fn assignment<'a>(names: &Expr<'a>, expr: &Expr<'a>) -> Lowered<(Expr<'a>, Expr<'a>)> {
    let (names, count) = target(names)?;
    let span = expr.span();
    let expr = expression(expr)?;
    Ok(match count {
        None => (names, expr),
        Some(count) => (
            names,
            operator(
                "unpack!",
                expr,
                vec![constant(Value::from(count), span)],
                span,
            ),
        ),
    })
}

fn variable<'a>(node: &Spanned<Var<'a>>) -> Expr<'a> {
    Expr::Var(Spanned::new(Var { id: node.id }, node.span()))
}

fn constant<'a>(value: Value, span: Span) -> Expr<'a> {
    Expr::Const(Spanned::new(Const { value }, span))
}

fn operator<'a>(name: &'a str, first: Expr<'a>, rest: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    let args = rest.into_iter().map(CallArg::Pos).collect();
    Expr::Filter(Spanned::new(
        Filter {
            name,
            expr: Some(first),
            args,
        },
        span,
    ))
}

fn expressions<'a>(found: &[Expr<'a>]) -> Lowered<Vec<Expr<'a>>> {
    found.iter().map(expression).collect()
}

/// Only chooses: what recurses must need little stack, also in builds that are not optimized.
fn expression<'a>(expr: &Expr<'a>) -> Lowered<Expr<'a>> {
    match expr {
        Expr::Var(node) => Ok(variable(node)),
        Expr::Const(node) => Ok(constant(node.value.clone(), node.span())),
        Expr::Slice(node) => slice(node),
        Expr::UnaryOp(node) => unary(node),
        Expr::BinOp(node) => binary(node),
        Expr::Compare(node) => Err(chained(node.span())),
        Expr::IfExpr(node) => if_expression(node),
        Expr::Filter(node) => filter(node),
        Expr::Test(node) => test(node),
        Expr::GetAttr(node) => attribute(node),
        Expr::GetItem(node) => item(node),
        Expr::Call(node) => call(node),
        Expr::List(node) => Ok(many("[,]", expressions(&node.items)?, node.span())),
        Expr::Tuple(node) => Ok(many("[,]", expressions(&node.items)?, node.span())),
        Expr::Map(node) => map(node),
    }
}

fn chained(span: Span) -> Box<BadTemplate> {
    refused(
        span,
        "comparisons are chained",
        "write `a < b and b < c` instead of `a < b < c`",
    )
}

fn slice<'a>(node: &Spanned<ast::Slice<'a>>) -> Lowered<Expr<'a>> {
    let span = node.span();
    let mut bounds = Vec::with_capacity(3);
    for bound in [&node.start, &node.stop, &node.step] {
        bounds.push(match bound {
            Some(bound) => expression(bound)?,
            None => constant(Value::from(()), span),
        });
    }
    Ok(operator("[:]", expression(&node.expr)?, bounds, span))
}

fn if_expression<'a>(node: &Spanned<IfExpr<'a>>) -> Lowered<Expr<'a>> {
    let test_expr = expression(&node.test_expr)?;
    let true_expr = expression(&node.true_expr)?;
    let false_expr = node.false_expr.as_ref().map(expression).transpose()?;
    let lowered = IfExpr {
        test_expr,
        true_expr,
        false_expr,
    };
    Ok(Expr::IfExpr(Spanned::new(lowered, node.span())))
}

fn filter<'a>(node: &Spanned<Filter<'a>>) -> Lowered<Expr<'a>> {
    let (name, span) = (node.name, node.span());
    known("filter", name, is_filter(name), filter_names, span)?;
    let expr = node.expr.as_ref().map(expression).transpose()?;
    let args = arguments(&node.args, span)?;
    Ok(Expr::Filter(Spanned::new(
        Filter { name, expr, args },
        span,
    )))
}

fn test<'a>(node: &Spanned<Test<'a>>) -> Lowered<Expr<'a>> {
    let (name, span) = (node.name, node.span());
    known("test", name, is_test(name), test_names, span)?;
    let expr = expression(&node.expr)?;
    let args = arguments(&node.args, span)?;
    Ok(Expr::Test(Spanned::new(Test { name, expr, args }, span)))
}

fn attribute<'a>(node: &Spanned<ast::GetAttr<'a>>) -> Lowered<Expr<'a>> {
    let name = constant(Value::from(node.name), node.span());
    Ok(operator(
        "[]",
        expression(&node.expr)?,
        vec![name],
        node.span(),
    ))
}

fn item<'a>(node: &Spanned<ast::GetItem<'a>>) -> Lowered<Expr<'a>> {
    let key = expression(&node.subscript_expr)?;
    Ok(operator(
        "[]",
        expression(&node.expr)?,
        vec![key],
        node.span(),
    ))
}

fn map<'a>(node: &Spanned<ast::Map<'a>>) -> Lowered<Expr<'a>> {
    let mut parts = Vec::with_capacity(2 * node.keys.len());
    for (key, value) in node.keys.iter().zip(&node.values) {
        parts.push(expression(key)?);
        parts.push(expression(value)?);
    }
    Ok(many("{}", parts, node.span()))
}

fn many<'a>(name: &'a str, parts: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    let mut parts = parts.into_iter();
    match parts.next() {
        Some(first) => operator(name, first, parts.collect(), span),
        None if name == "{}" => constant(
            super::value::map(Default::default()).unwrap_or_default(),
            span,
        ),
        None => constant(super::value::list(Vec::new()).unwrap_or_default(), span),
    }
}

fn unary<'a>(node: &Spanned<UnaryOp<'a>>) -> Lowered<Expr<'a>> {
    let span = node.span();
    let expr = expression(&node.expr)?;
    Ok(match node.op {
        UnaryOpKind::Not => Expr::UnaryOp(Spanned::new(
            UnaryOp {
                op: UnaryOpKind::Not,
                expr,
            },
            span,
        )),
        UnaryOpKind::Neg => operator("neg!", expr, Vec::new(), span),
    })
}

fn binary<'a>(node: &Spanned<BinOp<'a>>) -> Lowered<Expr<'a>> {
    let span = node.span();
    let (left, right) = (expression(&node.left)?, expression(&node.right)?);
    let name = match node.op {
        BinOpKind::ScAnd => {
            let op = BinOpKind::ScAnd;
            return Ok(Expr::BinOp(Spanned::new(BinOp { op, left, right }, span)));
        }
        BinOpKind::ScOr => {
            let op = BinOpKind::ScOr;
            return Ok(Expr::BinOp(Spanned::new(BinOp { op, left, right }, span)));
        }
        BinOpKind::Eq => "==",
        BinOpKind::Ne => "!=",
        BinOpKind::Lt => "<",
        BinOpKind::Lte => "<=",
        BinOpKind::Gt => ">",
        BinOpKind::Gte => ">=",
        BinOpKind::Add => "+",
        BinOpKind::Sub => "-",
        BinOpKind::Mul => "*",
        BinOpKind::Div => "/",
        BinOpKind::FloorDiv => "//",
        BinOpKind::Rem => "%",
        BinOpKind::Pow => "**",
        BinOpKind::Concat => "~",
        BinOpKind::In => "in!",
    };
    Ok(operator(name, left, vec![right], span))
}

fn call<'a>(node: &Spanned<ast::Call<'a>>) -> Lowered<Expr<'a>> {
    let span = node.span();
    let is_range = matches!(&node.expr, Expr::Var(name) if name.id == "range");
    if !is_range {
        return Err(refused(
            span,
            "a function or method is called",
            "only `range(…)` is a function; write filters, as in `name|upper`",
        ));
    }
    let mut parts = Vec::with_capacity(node.args.len());
    for argument in &node.args {
        match argument {
            CallArg::Pos(expr) => parts.push(expression(expr)?),
            _ => {
                return Err(refused(
                    span,
                    "`range` has named arguments",
                    "write `range(start, stop)`",
                ));
            }
        }
    }
    if parts.is_empty() {
        return Err(refused(
            span,
            "`range` has no arguments",
            "write `range(stop)`",
        ));
    }
    Ok(many("range!", parts, span))
}

fn arguments<'a>(found: &[CallArg<'a>], span: Span) -> Lowered<Vec<CallArg<'a>>> {
    let mut lowered = Vec::with_capacity(found.len());
    for argument in found {
        lowered.push(match argument {
            CallArg::Pos(expr) => CallArg::Pos(expression(expr)?),
            CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, expression(expr)?),
            _ => {
                return Err(refused(
                    span,
                    "arguments are spread with `*`",
                    "write them one by one",
                ));
            }
        });
    }
    Ok(lowered)
}

fn known(what: &str, name: &str, is_known: bool, names: fn() -> String, span: Span) -> Lowered<()> {
    if is_known {
        return Ok(());
    }
    let name: String = name.chars().take(40).collect();
    Err(refused(
        span,
        format!("there is no {what} `{name}`"),
        format!("use one of: {}", names()),
    ))
}
