//! Where a method is given a closure that uses what the method is called on: `b.layer(|| b.run("true"))`.
//!
//! Rhai locks a captured variable while a method of it runs, and then finds that the closure cannot have it. Its error names
//! the method and no place; the place is in the script's syntax tree, since such a call never works.

use rhai::{AST, ASTNode, EvalAltResult, Expr, Position, Stmt};

/// The error, with the place of the call where it is such a one and has none.
pub(crate) fn placed(mut error: Box<EvalAltResult>, ast: &AST) -> Box<EvalAltResult> {
    let mut inner = &mut *error;
    loop {
        match inner {
            EvalAltResult::ErrorInFunctionCall(_, _, next, _) | EvalAltResult::ErrorInModule(_, next, _) => {
                inner = next
            }
            EvalAltResult::ErrorDataRace(what, position) if position.is_none() => {
                if let Some(found) = method(what).and_then(|method| find(ast, method)) {
                    *position = found;
                }
                return error;
            }
            _ => return error,
        }
    }
}

/// The method of `argument #1 of function 'layer'`.
pub(crate) fn method(text: &str) -> Option<&str> {
    text.contains("argument #").then(|| text.split('\'').nth(1)).flatten()
}

/// The first call of this method with a closure that has captured what the call begins with.
fn find(ast: &AST, method: &str) -> Option<Position> {
    let mut found = None;
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Expr(expression @ (Expr::Dot(chain, ..) | Expr::Index(chain, ..)))) = path.last()
            && let Some(root) = root(expression)
        {
            found = call(&chain.rhs, root, method);
        }
        found.is_none()
    });
    found
}

/// The variable that a chain begins with.
fn root(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Dot(chain, ..) | Expr::Index(chain, ..) => root(&chain.lhs),
        Expr::Variable(variable, ..) => Some(&variable.1),
        _ => None,
    }
}

/// Such a call in the rest of a chain.
fn call(expression: &Expr, root: &str, method: &str) -> Option<Position> {
    match expression {
        Expr::Dot(chain, ..) | Expr::Index(chain, ..) => {
            call(&chain.lhs, root, method).or_else(|| call(&chain.rhs, root, method))
        }
        Expr::MethodCall(call, position) if call.name == method => {
            call.args.iter().any(|argument| captures(argument, root)).then_some(*position)
        }
        _ => None,
    }
}

/// Whether an argument is a closure that has captured a variable: a block that shares it first.
fn captures(argument: &Expr, variable: &str) -> bool {
    let Expr::Stmt(block) = argument else { return false };
    block.statements().iter().any(|statement| match statement {
        Stmt::Share(shared) => shared.iter().any(|(name, _)| name.name == variable),
        _ => false,
    })
}
