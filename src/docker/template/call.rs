//! Calls of functions: their arguments are evaluated, and have the types that are wanted.

use crate::docker::template::functions::{self, Signature, Want};
use crate::docker::template::quote::quoted;
use crate::docker::template::run::{Ran, Run};
use crate::docker::template::shape::Shape;
use crate::docker::template::tree::{Command, Operand, Term};
use crate::docker::template::value::{Value, View};

/// What a command gives to its first word: the operands behind it, and what comes out of the pipe.
pub(super) struct Given<'a> {
    pub(super) command: Option<&'a Command>,
    pub(super) last: Option<Value<'a>>,
}

impl<'a> Given<'a> {
    /// A word that stands among others is given nothing.
    pub(super) const NONE: Given<'static> = Given { command: None, last: None };

    pub(super) fn operands(&self) -> &'a [Operand] {
        self.command.map_or(&[], |command| &command.operands[1..])
    }

    pub(super) fn count(&self) -> usize {
        self.operands().len() + usize::from(self.last.is_some())
    }

    pub(super) fn has_any(&self) -> bool {
        self.count() > 0
    }
}

impl<'a> Run<'a> {
    pub(super) fn function(
        &mut self,
        dot: &Value<'a>,
        first: &'a Operand,
        name: &'a str,
        given: Given<'a>,
    ) -> Ran<Value<'a>> {
        self.at(first.at, first);
        let Some(signature) = functions::signature(name) else {
            return self.fail(format_args!("{} is not a defined function", quoted(name)));
        };
        let command = given.command;
        if name == "and" || name == "or" {
            return self.logic(dot, name, &signature, given);
        }
        if self.titles && functions::LEAVES_TITLES.contains(&name) {
            let any = Signature { fixed: &[Want::Any], rest: Some(Want::Any) };
            return Ok(self.arguments(dot, name, &any, given)?.swap_remove(0));
        }
        let values = self.arguments(dot, name, &signature, given)?;
        let price = functions::price(name, &values);
        self.spend(price)?;
        match functions::call(name, &values, self.fuel) {
            Ok(value) => {
                if let Value::Made(text) = &value {
                    self.spend(text.len())?;
                }
                Ok(value)
            }
            Err(why) => {
                match command {
                    Some(command) => self.at(command.at, command),
                    None => self.at(first.at, first),
                }
                self.fail(format_args!("error calling {name}: {why}"))
            }
        }
    }

    /// `and` and `or` stop at the first value that decides.
    fn logic(&mut self, dot: &Value<'a>, name: &str, signature: &Signature, given: Given<'a>) -> Ran<Value<'a>> {
        self.check_count(name, signature, &given)?;
        let mut value = Value::Absent;
        for operand in given.operands() {
            value = self.argument(dot, Want::Any, operand)?.settled();
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(given.last.unwrap_or(value))
    }

    fn check_count(&self, name: &str, signature: &Signature, given: &Given<'a>) -> Ran<()> {
        let (want, got) = (signature.fixed.len(), given.count());
        match signature.rest {
            Some(_) if got < want => {
                let got = given.operands().len();
                self.fail(format_args!("wrong number of args for {name}: want at least {want} got {got}"))
            }
            None if got != want => self.fail(format_args!("wrong number of args for {name}: want {want} got {got}")),
            _ => Ok(()),
        }
    }

    pub(super) fn arguments(
        &mut self,
        dot: &Value<'a>,
        name: &str,
        signature: &Signature,
        given: Given<'a>,
    ) -> Ran<Vec<Value<'a>>> {
        self.check_count(name, signature, &given)?;
        let mut values = Vec::with_capacity(given.count());
        for operand in given.operands() {
            let want = signature.want(values.len());
            values.push(self.argument(dot, want, operand)?.settled());
        }
        if let Some(last) = given.last {
            self.check(&last, signature.want(values.len()))?;
            values.push(last);
        }
        Ok(values)
    }

    /// An operand as an argument of the type that is wanted.
    fn argument(&mut self, dot: &Value<'a>, want: Want, operand: &'a Operand) -> Ran<Value<'a>> {
        self.at(operand.at, operand);
        let expected = match (&operand.term, want) {
            (Term::Nil, Want::Any) => return Ok(Value::Absent),
            (Term::Nil, Want::Strings) => return Ok(Value::Strings([].into())),
            (Term::Nil, want) => return self.fail(format_args!("cannot assign nil to {}", want.name())),
            (Term::Bool(_) | Term::Number(_), Want::Text) => "expected string; found",
            (Term::Bool(_) | Term::String(..), Want::Int) => "expected integer; found",
            (Term::Number(number), Want::Int) => match number.integer {
                Some(integer) => return Ok(Value::Int(integer)),
                None => "expected integer; found",
            },
            (Term::Bool(_) | Term::String(..) | Term::Number(_), Want::Strings) => {
                return self.fail(format_args!("can't handle {operand} for arg of type []string"));
            }
            _ => {
                let value = self.operand(dot, operand)?;
                self.check(&value, want)?;
                return Ok(value);
            }
        };
        self.fail(format_args!("{expected} {operand}"))
    }

    fn check(&self, value: &Value<'a>, want: Want) -> Ran<()> {
        match (want, value.view()) {
            (Want::Any, _)
            | (Want::Text, View::Text(_))
            | (Want::Int, View::Int(_))
            | (Want::Strings, View::Strings(_)) => Ok(()),
            (Want::Strings, View::List(items, shape))
                if matches!(shape.element(), Shape::Text)
                    || (matches!(shape.element(), Shape::Any) && items.iter().all(serde_json::Value::is_string)) =>
            {
                Ok(())
            }
            (want, View::Nothing) if matches!(value, Value::Absent) => {
                self.fail(format_args!("invalid value; expected {}", want.name()))
            }
            (want, _) => {
                let (want, got) = (want.name(), value.type_name());
                self.fail(format_args!("wrong type for value; expected {want}; got {got}"))
            }
        }
    }
}
