//! A session: a script that comes line by line. Variables, functions and imports stay; `it` is the last value.
//!
//! Knows nothing of terminals: it evaluates, completes, colours and says whether a text is complete. What is deferred runs
//! at the end of the session, as it would at the end of a script.

use std::sync::Arc;
use std::sync::PoisonError;

use rhai::{AST, Dynamic, Engine, EvalAltResult, Expr, Scope, Stmt};

use crate::script::context::{Frame, Host, Options, Tag};
use crate::script::display;
use crate::script::error::{Fault, describe};
use crate::script::report::{Main, render};
use crate::script::resolve::Modules;
use crate::script::{control, on_large_stack, race, setup};

/// What becomes of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluated {
    /// It ran; this is its value for people, if it has one. Already printed text is not in it.
    Value(Option<String>),
    /// It failed; this says how and where.
    Failed(String),
    /// Ctrl-C ended it.
    Interrupted,
    /// It called `exit` with this status.
    Exit(u8),
}

/// What a piece of a line is, for colouring it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// A word of the language.
    Keyword,
    /// A string or a character.
    Text,
    /// A number or a truth value.
    Number,
    /// A comment, or what cannot be read.
    Faint,
    /// Everything else.
    Plain,
}

/// A running session.
pub struct Session {
    host: Arc<Host>,
    frame: Arc<Frame>,
    engine: Engine,
    modules: Modules,
    scope: Scope<'static>,
    functions: AST,
    /// Texts that ran without an error, as a script would hold them.
    kept: Vec<String>,
    count: usize,
}

impl Session {
    /// A session without any variables.
    pub fn new(options: Options) -> Session {
        let host = Arc::new(Host::new(options));
        let frame = Arc::new(Frame::default());
        let modules = Modules::default();
        let engine = setup::engine_for(Tag { host: host.clone(), frame: frame.clone() }, modules.clone());
        let mut scope = Scope::new();
        scope.push("it", Dynamic::UNIT);
        Session { host, frame, engine, modules, scope, functions: AST::empty(), kept: Vec::new(), count: 0 }
    }

    /// Runs a text.
    pub fn evaluate(&mut self, text: &str) -> Evaluated {
        self.count += 1;
        let name = format!("<{}>", self.count);
        let interrupt = self.host.interrupt().clone();
        interrupt.store(false, std::sync::atomic::Ordering::Relaxed);
        if let Err(error) = crate::sys::signal_pipe::raise_flag_on(&crate::sys::signal_pipe::ENDING[..1], &interrupt) {
            self.host.note(&format!("warning: Ctrl-C ends the session: {error}"));
        }
        let depth = self.scope.len();
        let result = on_large_stack(|| self.run(&name, text));
        let interrupted = interrupt.swap(false, std::sync::atomic::Ordering::Relaxed);
        self.host.wound_up();
        match result {
            Ok(_) if self.host.exit_code().is_some() => {
                Evaluated::Exit(self.host.exit_code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
            }
            Ok(value) => {
                self.kept.push(text.trim_end().to_owned());
                Evaluated::Value(self.take_value(value))
            }
            Err(_) if interrupted => {
                self.scope.rewind(depth.min(self.scope.len()));
                Evaluated::Interrupted
            }
            Err(error) => {
                let fault = describe(&error, self.host.names(&self.engine));
                Evaluated::Failed(self.say(&fault, &name, text))
            }
        }
    }

    fn run(&mut self, name: &str, text: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut ast = self.engine.compile_with_scope(&self.scope, text)?;
        ast.set_source(name);
        let whole = self.functions.merge(&ast);
        let result = self.engine.eval_ast_with_scope::<Dynamic>(&mut self.scope, &whole);
        let result = result.map_err(|error| race::placed(error, &ast));
        // Also after an error: functions that were read exist, as in a script.
        self.functions = whole.clone_functions_only();
        if result.is_ok() {
            self.keep_imports(&ast)?;
        }
        result
    }

    /// Import names die with their text; as modules of the engine they live on.
    fn keep_imports(&mut self, ast: &AST) -> Result<(), Box<EvalAltResult>> {
        use rhai::ModuleResolver as _;
        for statement in ast.statements() {
            let Stmt::Import(import, position) = statement else { continue };
            if let Expr::StringConstant(path, _) = &import.0
                && !import.1.name.is_empty()
            {
                let module = self.modules.resolve(&self.engine, None, path, *position)?;
                self.engine.register_static_module(import.1.name.as_str(), module);
            }
        }
        Ok(())
    }

    fn take_value(&mut self, value: Dynamic) -> Option<String> {
        if value.is_unit() {
            return None;
        }
        let shown = match value.is_string() || value.is_char() {
            true => display::inline(&value, 0),
            false => display::pretty(&value, self.host.width),
        };
        self.scope.set_value("it", value);
        Some(shown)
    }

    fn say(&self, fault: &Fault, name: &str, text: &str) -> String {
        let colour = self.host.console.lock().unwrap_or_else(PoisonError::into_inner).colour;
        render(fault, Main { name, text }, colour)
    }

    /// The text may go on in the next line: a bracket or a string is open.
    pub fn is_incomplete(&self, text: &str) -> bool {
        self.engine.compile_with_scope(&self.scope, text).is_err_and(|error| setup::is_incomplete(&error, text))
    }

    /// The words that could stand for the last one of `text`, and where that one begins: after a dot properties and
    /// methods, after `module::` its functions, otherwise variables, modules and functions.
    pub fn complete(&self, text: &str) -> (usize, Vec<String>) {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let start =
            text.rfind(|c: char| !word(c)).map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
        let (before, typed) = text.split_at(start);
        let names = setup::names(&self.engine);
        let mut found: Vec<String> = if let Some(owner) = before.strip_suffix("::") {
            let module = &owner[owner.rfind(|c: char| !word(c)).map_or(0, |at| at + 1)..];
            names.modules.get(module).into_iter().flatten().map(|name| format!("{name}(")).collect()
        } else if let Some(owner) = before.strip_suffix('.') {
            let variable = &owner[owner.rfind(|c: char| !word(c)).map_or(0, |at| at + 1)..];
            self.members(variable, &names)
        } else {
            let variables = self.scope.iter().map(|(name, ..)| name.to_owned());
            let modules = names.modules.keys().map(|name| format!("{name}::"));
            let functions = self.globals().into_iter().map(|name| format!("{name}("));
            variables.chain(modules).chain(functions).collect()
        };
        found.retain(|name| name.starts_with(typed));
        found.sort();
        found.dedup();
        (start, found)
    }

    /// What stands behind the dot of a variable; of everything when its type is not known.
    fn members(&self, variable: &str, names: &crate::script::suggest::Names) -> Vec<String> {
        let value = self.scope.get(variable);
        if let Some(map) = value.and_then(|value| value.read_lock::<rhai::Map>()) {
            return map.keys().map(ToString::to_string).collect();
        }
        let of = value.map(crate::script::units::type_name);
        let fits = |own: &String| of.as_ref().is_none_or(|of| of == own);
        let properties = names.properties.iter().filter(|(own, _)| fits(own)).flat_map(|(_, names)| names.clone());
        let methods = names.methods.iter().filter(|(own, _)| fits(own)).flat_map(|(_, names)| names.clone());
        properties.chain(methods.map(|name| format!("{name}("))).collect()
    }

    /// Functions that are written without a receiver, the session's own included.
    fn globals(&self) -> Vec<String> {
        let registered = crate::script::doc::entries(&self.engine).into_iter();
        let registered = registered.filter(|entry| entry.of.is_none() && entry.module.is_empty() && !entry.operator);
        let own = self.functions.iter_functions().map(|function| function.name.to_owned());
        registered.map(|entry| entry.name).chain(own.filter(|name| !name.starts_with("anon$"))).collect()
    }

    /// The pieces of a line in order, each with what it is; together they are the line.
    pub fn colours(&self, line: &str) -> Vec<(std::ops::Range<usize>, Colour)> {
        let inputs = [line];
        let (tokens, _) = self.engine.lex(&inputs);
        let mut marks: Vec<(usize, Colour)> = Vec::new();
        for (token, position) in tokens {
            let Some(at) = offset(line, position) else { break };
            // After what it cannot read, the lexer may give the same token for ever.
            if marks.last().is_some_and(|(last, _)| at <= *last) {
                break;
            }
            marks.push((at, colour_of(&token)));
            if matches!(token, rhai::Token::LexError(_)) {
                break;
            }
        }
        let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([line.len()]);
        let mut pieces: Vec<_> = marks.iter().zip(ends).map(|((start, colour), end)| (*start..end, *colour)).collect();
        match marks.first() {
            Some((first, _)) if *first > 0 => pieces.insert(0, (0..*first, Colour::Faint)),
            None => pieces.push((0..line.len(), Colour::Faint)),
            _ => {}
        }
        pieces
    }

    /// The session as a script: every text that ran without an error.
    pub fn as_script(&self) -> String {
        let mut text = String::from("#!/usr/bin/env rhumb\n// A session that was kept.\n");
        for piece in &self.kept {
            text += piece;
            let ended = piece.ends_with([';', '}']);
            text += if ended { "\n" } else { ";\n" };
        }
        text
    }

    /// What is known about a name, as `help` prints it.
    pub fn help(&self, name: &str) -> String {
        match name {
            "" => crate::script::doc::overview(&self.engine),
            name => crate::script::doc::about(&self.engine, name)
                .unwrap_or_else(|error| self.say(&Fault::from_error(&error), "", "")),
        }
    }

    /// Writes to the session's standard output.
    pub fn print(&self, text: &str) {
        self.host.say(text);
    }

    /// Writes a line to the session's standard error.
    pub fn note(&self, line: &str) {
        self.host.note(line);
    }

    /// Containers that this session started and that still run, as lines for people.
    pub fn still_running(&self) -> Vec<String> {
        self.host.still_running()
    }

    /// The variables and their values, a line each.
    pub fn variables(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (name, _, value) in self.scope.iter_raw() {
            let line = format!("{name} = {}", display::inline(&value.flatten_clone(), 0));
            // A name that was used again hides the earlier one.
            lines.retain(|other| !other.starts_with(&format!("{name} = ")));
            lines.push(line);
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Ends the session: runs what was deferred and removes its temporary folders. Says what failed and returns whether
    /// all went well.
    pub fn end(self) -> bool {
        self.host.wind_up();
        let failures = on_large_stack(|| control::run_deferred(&self.engine, &self.frame));
        let names = self.host.names(&self.engine);
        for failure in &failures {
            self.host.note("in a deferred closure:");
            self.host.note(self.say(&describe(failure, names), "", "").trim_end());
        }
        self.host.remove_temp_dirs();
        failures.is_empty()
    }
}

/// Where a position of the lexer is in a text of one or more lines, in bytes.
fn offset(text: &str, position: rhai::Position) -> Option<usize> {
    let (line, column) = (position.line()?, position.position()?);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let (at, _) = text[start..].char_indices().nth(column - 1)?;
    Some(start + at)
}

fn colour_of(token: &rhai::Token) -> Colour {
    use rhai::Token;
    match token {
        Token::StringConstant(_) | Token::InterpolatedString(_) | Token::CharConstant(_) => Colour::Text,
        Token::IntegerConstant(_) | Token::FloatConstant(_) | Token::True | Token::False => Colour::Number,
        Token::Comment(_) | Token::LexError(_) => Colour::Faint,
        token if token.is_standard_keyword() || token.is_reserved() => Colour::Keyword,
        _ => Colour::Plain,
    }
}
