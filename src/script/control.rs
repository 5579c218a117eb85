//! The globals that shape a script's course: `defer scope parallel retry step sleep assert exit confirm help`.
//!
//! Deferred closures run last first at the end of the innermost `scope`, or of the script, also after an error. After
//! Ctrl-C those of inner scopes join the script's own, and all run once every thread has stopped.

use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{Array, Dynamic, EvalAltResult, FnPtr, ImmutableString, Map, NativeCallContext};

use crate::base::units::short_duration;
use crate::base::{Error, Kind};
use crate::script::closure::{Kept, copied, unshared};
use crate::script::context::{Deferred, Frame, Host, Tag, refuse, tag};
use crate::script::error::{Fallible, Raise, as_map, describe, thrown};
use crate::script::units::{TimeSpan, duration_of};

/// How many closures of one `parallel` run at once.
pub(crate) const PARALLEL_THREADS: usize = 32;
/// The stack of a thread that runs closures, in bytes: Rhai's evaluator recurses. Untouched pages cost nothing.
const THREAD_STACK_BYTES: usize = 16 * 1024 * 1024;
/// How often a sleeping script looks for Ctrl-C.
const POLL: Duration = Duration::from_millis(10);

/// Sleeps, or ends the script when it is stopped.
pub(crate) fn sleep_for(ctx: &NativeCallContext, host: &Host, duration: Duration) -> Fallible<()> {
    let start = Instant::now();
    loop {
        if host.is_stopping() {
            return Err(EvalAltResult::ErrorTerminated(Dynamic::UNIT, ctx.call_position()).into());
        }
        match duration.checked_sub(start.elapsed()) {
            Some(left) if !left.is_zero() => std::thread::sleep(left.min(POLL)),
            _ => return Ok(()),
        }
    }
}

/// The error ends the script: Ctrl-C, a limit, `exit`.
fn is_final(error: &EvalAltResult) -> bool {
    let inner = error.unwrap_inner();
    inner.is_pseudo_error() || !inner.is_catchable()
}

/// Runs what was deferred, last first, including what is deferred meanwhile.
pub(crate) fn run_deferred(engine: &rhai::Engine, frame: &Frame) -> Vec<EvalAltResult> {
    let mut failures = Vec::new();
    loop {
        let next = frame.deferred.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(Deferred { closure, context }) = next else { return failures };
        if let Err(error) = context.call(engine, &closure, ()) {
            failures.push(*error);
        }
    }
}

/// Ends a scope: runs its defers, or hands them to the enclosing one when the script is being stopped.
fn end_scope(ctx: &NativeCallContext, tag: &Tag, frame: &Frame, result: Fallible<Dynamic>) -> Fallible<Dynamic> {
    if let Err(error) = &result
        && matches!(error.unwrap_inner(), EvalAltResult::ErrorTerminated(..))
    {
        let mut ours = frame.deferred.lock().unwrap_or_else(PoisonError::into_inner);
        tag.frame.deferred.lock().unwrap_or_else(PoisonError::into_inner).append(&mut ours);
        return result;
    }
    let mut failures = run_deferred(ctx.engine(), frame);
    let result = match result {
        Ok(_) if !failures.is_empty() => Err(failures.remove(0).into()),
        other => other,
    };
    let names = tag.host.names(ctx.engine());
    for failure in failures {
        tag.host.note(&format!("warning: a deferred closure failed: {}", describe(&failure, names).message));
    }
    result
}

/// Runs `closure` over every item on at most [`PARALLEL_THREADS`] threads; results in order.
fn run_parallel(ctx: &NativeCallContext, tag: &Tag, items: Array, closure: &FnPtr) -> Vec<Option<Fallible<Dynamic>>> {
    let threads = items.len().min(PARALLEL_THREADS);
    let results: Mutex<Vec<Option<Fallible<Dynamic>>>> = Mutex::new(items.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    let engine = ctx.engine();
    let worker = |kept: &Kept, closure: &FnPtr| {
        while !tag.host.is_stopping() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = kept.call(engine, closure, (copied(item),));
            results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let (kept, closure) = (Kept::new(ctx, tag.clone()), unshared(closure));
            // With no thread to be had, the ones that run do the work.
            let started = std::thread::Builder::new()
                .stack_size(THREAD_STACK_BYTES)
                .spawn_scoped(scope, move || worker(&kept, &closure));
            if started.is_err() {
                break;
            }
        }
        worker(&Kept::new(ctx, tag.clone()), &unshared(closure));
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// As `parallel` over an array, for the numbers of a range.
fn parallel_numbers(ctx: &NativeCallContext, numbers: impl Iterator<Item = i64>, closure: &FnPtr) -> Fallible<Array> {
    let items: Array = numbers.take(crate::script::setup::MAX_ARRAY_ITEMS + 1).map(Dynamic::from).collect();
    if items.len() > crate::script::setup::MAX_ARRAY_ITEMS {
        return Err(refuse(ctx, "this range is too long".to_owned()));
    }
    let tag = tag(ctx)?;
    let results = run_parallel(ctx, &tag, items, closure);
    gather(ctx, &tag.host, results)
}

/// The values, or the first error with the messages of the others.
fn gather(ctx: &NativeCallContext, host: &Host, results: Vec<Option<Fallible<Dynamic>>>) -> Fallible<Array> {
    let total = results.len();
    let mut values = Array::new();
    let mut failures: Vec<Box<EvalAltResult>> = Vec::new();
    for result in results {
        match result {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) if is_final(&error) => {
                // Of several closures that call `exit`, the first in order decides.
                if let EvalAltResult::Exit(code, _) = error.unwrap_inner() {
                    host.set_exit_code(code.as_int().unwrap_or(1));
                }
                return Err(error);
            }
            Some(Err(error)) => failures.push(error),
            None => return Err(EvalAltResult::ErrorTerminated(Dynamic::UNIT, ctx.call_position()).into()),
        }
    }
    if failures.is_empty() {
        return Ok(values);
    }
    let first = failures.remove(0);
    if failures.is_empty() {
        return Err(first);
    }
    let names = host.names(ctx.engine());
    let mut map = as_map(&first, names);
    let others: Array = failures.iter().map(|failure| Dynamic::from(as_map(failure, names))).collect();
    let message = map.get("message").map(ToString::to_string).unwrap_or_default();
    map.insert("message".into(), format!("{} of {total} failed, the first: {message}", failures.len() + 1).into());
    if let Some(mut chain) = map.get_mut("chain").and_then(|chain| chain.write_lock::<Array>()) {
        chain.extend(failures.iter().map(|failure| format!("also: {}", describe(failure, names).message).into()));
    }
    map.insert("others".into(), others.into());
    Err(EvalAltResult::ErrorRuntime(map.into(), ctx.call_position()).into())
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod control_functions {
    use super::*;

    /// Runs a closure at the end of the innermost `scope`, or of the script: last first, also after an error or Ctrl-C.
    /// It sees the values that its variables have now.
    ///
    /// ```rhai
    /// let dir = host::temp_dir();
    /// defer(|| print(`done with ${dir}`));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn defer(ctx: NativeCallContext, closure: FnPtr) -> Fallible<()> {
        let tag = tag(&ctx)?;
        let context = Kept::new(&ctx, tag.clone());
        let deferred = Deferred { closure: unshared(&closure), context };
        tag.frame.deferred.lock().unwrap_or_else(PoisonError::into_inner).push(deferred);
        Ok(())
    }

    /// Calls a closure and returns its value; what it defers runs when it ends.
    ///
    /// ```rhai
    /// let value = scope(|| { defer(|| print("second")); print("first"); 42 });
    /// assert(value == 42);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn scope(ctx: NativeCallContext, body: FnPtr) -> Fallible<Dynamic> {
        let tag = tag(&ctx)?;
        let frame = Arc::new(Frame::default());
        let inner = Tag { host: tag.host.clone(), frame: frame.clone() };
        let result = Kept::new(&ctx, inner).call(ctx.engine(), &body, ());
        end_scope(&ctx, &tag, &frame, result)
    }

    /// Calls a closure with every item of an array, up to 32 at a time, and returns the results in order. Every item gets
    /// its turn; then the first error is thrown, with the others in `e.others`. Captured variables are copied.
    ///
    /// ```rhai
    /// assert(parallel([1, 2, 3], |n| n * n) == [1, 4, 9]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn parallel(ctx: NativeCallContext, items: Array, closure: FnPtr) -> Fallible<Array> {
        let tag = tag(&ctx)?;
        if items.is_empty() {
            return Ok(Array::new());
        }
        let results = run_parallel(&ctx, &tag, items, &closure);
        gather(&ctx, &tag.host, results)
    }

    #[rhai_fn(name = "parallel", return_raw)]
    pub fn parallel_range(ctx: NativeCallContext, items: Range<i64>, closure: FnPtr) -> Fallible<Array> {
        parallel_numbers(&ctx, items, &closure)
    }

    #[rhai_fn(name = "parallel", return_raw)]
    pub fn parallel_closed_range(
        ctx: NativeCallContext,
        items: RangeInclusive<i64>,
        closure: FnPtr,
    ) -> Fallible<Array> {
        parallel_numbers(&ctx, items, &closure)
    }

    /// Calls a closure until it does not throw, at most so many times with a pause in between; throws its last error.
    ///
    /// ```rhai
    /// let tries = 0;
    /// retry(5, 1.ms, || { tries += 1; assert(tries == 3, "not yet"); });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn retry(ctx: NativeCallContext, times: i64, pause: TimeSpan, body: FnPtr) -> Fallible<Dynamic> {
        let tag = tag(&ctx)?;
        let pause = duration_of(&pause).raise(&ctx)?;
        if times < 1 {
            return Err(refuse(&ctx, format!("retry takes one try or more, not {times}")));
        }
        let mut tried = 1;
        loop {
            match body.call_within_context::<Dynamic>(&ctx, ()) {
                Err(error) if tried < times && !is_final(&error) => sleep_for(&ctx, &tag.host, pause)?,
                result => return result,
            }
            tried += 1;
        }
    }

    /// Calls a closure and returns its value; says its label, and how long it took, on standard error.
    ///
    /// ```rhai
    /// let sum = step("adding up", || 1 + 2);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn step(ctx: NativeCallContext, label: ImmutableString, body: FnPtr) -> Fallible<Dynamic> {
        let tag = tag(&ctx)?;
        tag.host.note(&format!("{label} …"));
        let start = Instant::now();
        let result = body.call_within_context::<Dynamic>(&ctx, ());
        let took = short_duration(start.elapsed());
        let failed = result.as_ref().is_err_and(|error| !error.unwrap_inner().is_pseudo_error());
        tag.host.note(&if failed { format!("{label}: failed after {took}") } else { format!("{label}: {took}") });
        result
    }

    /// Waits. Ctrl-C ends it.
    ///
    /// ```rhai
    /// sleep(5.ms);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sleep(ctx: NativeCallContext, duration: TimeSpan) -> Fallible<()> {
        let tag = tag(&ctx)?;
        let duration = duration_of(&duration).raise(&ctx)?;
        sleep_for(&ctx, &tag.host, duration)
    }

    /// Throws when a condition does not hold.
    ///
    /// ```rhai
    /// assert(1 + 1 == 2, "arithmetic is broken");
    /// ```
    #[rhai_fn(name = "assert", return_raw)]
    pub fn assert_message(ctx: NativeCallContext, condition: bool, message: Dynamic) -> Fallible<()> {
        if condition {
            return Ok(());
        }
        Err(thrown(&ctx, Error::failed(format!("assertion failed: {message}"))))
    }

    #[rhai_fn(name = "assert", return_raw)]
    pub fn assert_condition(ctx: NativeCallContext, condition: bool) -> Fallible<()> {
        if condition { Ok(()) } else { Err(thrown(&ctx, Error::failed("assertion failed"))) }
    }

    /// Throws an error with a kind that a caller can branch on.
    ///
    /// ```rhai
    /// try { fail("not_found", "no such customer"); } catch (e) { assert(e.kind == "not_found"); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn fail(ctx: NativeCallContext, kind: ImmutableString, message: ImmutableString) -> Fallible<()> {
        let Some(known) = Kind::from_name(&kind) else {
            return Err(refuse(&ctx, format!("{kind:?} is not a kind of error")));
        };
        Err(thrown(&ctx, Error::new(known, message.to_string())))
    }

    /// Ends the script with this status, 0 to 255, after running what was deferred.
    ///
    /// ```rhai
    /// if flag("nothing-to-do") { exit(0); }
    /// ```
    #[rhai_fn(volatile, return_raw)]
    pub fn exit(ctx: NativeCallContext, code: i64) -> Fallible<()> {
        if !(0..=255).contains(&code) {
            return Err(refuse(&ctx, format!("an exit status is 0 to 255, not {code}")));
        }
        tag(&ctx)?.host.set_exit_code(code);
        Err(EvalAltResult::Exit(code.into(), ctx.call_position()).into())
    }

    #[rhai_fn(name = "exit", volatile, return_raw)]
    pub fn exit_well(ctx: NativeCallContext) -> Fallible<()> {
        exit(ctx, 0)
    }

    /// Asks a question on standard error and returns whether the answer was yes; the end of input is no.
    ///
    /// ```rhai
    /// if confirm("Remove all of it?") { print("gone"); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn confirm(ctx: NativeCallContext, question: ImmutableString) -> Fallible<bool> {
        let tag = tag(&ctx)?;
        let mut console = tag.host.console.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = String::new();
        write!(console.err, "{question} [y/N] ").and_then(|()| console.err.flush()).raise(&ctx)?;
        console.input.read_line(&mut answer).raise(&ctx)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Prints what is known about a name, such as `"container"`, `"container::run"`, `"stop"`, or about a value's type.
    ///
    /// ```rhai
    /// help("host::temp_dir");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn help(ctx: NativeCallContext, about: Dynamic) -> Fallible<()> {
        let name = match about.as_immutable_string_ref() {
            Ok(text) => text.to_string(),
            Err(_) => crate::script::units::type_name(&about),
        };
        let text = crate::script::doc::about(ctx.engine(), &name).raise(&ctx)?;
        tag(&ctx)?.host.say(&text);
        Ok(())
    }

    #[rhai_fn(name = "help", return_raw)]
    pub fn help_all(ctx: NativeCallContext) -> Fallible<()> {
        tag(&ctx)?.host.say(&crate::script::doc::overview(ctx.engine()));
        Ok(())
    }

    /// A map without the keys that are unit: what is left of optional settings.
    ///
    /// ```rhai
    /// assert(#{ a: 1, b: () }.compact() == #{ a: 1 });
    /// ```
    pub fn compact(map: Map) -> Map {
        map.into_iter().filter(|(_, value)| !value.is_unit()).collect()
    }
}
