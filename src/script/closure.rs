//! Calling closures from native code: with another scope frame, later, or from another thread.
//!
//! A closure captures variables, not values (a Rhai rule). Where it outlives its call, or runs beside others, the captured
//! values are copied first ([`unshared`]); otherwise two threads would meet in Rhai's "data race" error.

// Rhai marks the types that keep a call's context as volatile, not as deprecated: the attribute is its warning.
#![allow(deprecated, reason = "NativeCallContextStore is volatile by its own word, and pinned by Cargo.lock")]

use rhai::{Array, Dynamic, FnPtr, FuncArgs, Map, NativeCallContext, NativeCallContextStore};

use crate::script::context::Tag;
use crate::script::error::Fallible;

/// The context of a call, kept for later.
pub(crate) struct Kept(NativeCallContextStore);

impl Kept {
    /// Keeps the context of a call with `tag` in place of its own.
    pub(crate) fn new(ctx: &NativeCallContext, tag: Tag) -> Kept {
        let mut store = ctx.store_data();
        store.global.tag = tag.into_dynamic();
        Kept(store)
    }

    /// Calls a closure as if from that place.
    pub(crate) fn call(&self, engine: &rhai::Engine, closure: &FnPtr, args: impl FuncArgs) -> Fallible<Dynamic> {
        closure.call_within_context(&self.0.create_context(engine), args)
    }
}

/// A copy of the closure that holds the values of its captured variables as they are now.
pub(crate) fn unshared(closure: &FnPtr) -> FnPtr {
    let mut closure = closure.clone();
    for captured in closure.iter_curry_mut() {
        *captured = copied(captured);
    }
    closure
}

/// A deep copy without shared cells; handles stay handles to the same thing.
pub(crate) fn copied(value: &Dynamic) -> Dynamic {
    let value = value.flatten_clone();
    if let Some(closure) = value.read_lock::<FnPtr>() {
        return unshared(&closure).into();
    }
    if let Some(array) = value.read_lock::<Array>() {
        return array.iter().map(copied).collect::<Array>().into();
    }
    if let Some(map) = value.read_lock::<Map>() {
        return map.iter().map(|(key, value)| (key.clone(), copied(value))).collect::<Map>().into();
    }
    value
}
