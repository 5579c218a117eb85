//! The Rhai engine as Rhumb sets it up: modules, limits, strictness, hooks.
//!
//! Strict: an unknown variable or module is an error before anything runs, a misspelt property is an error when it is
//! read. `eval` is switched off. Limits keep a script from eating the machine by mistake; they are no sandbox.

use std::sync::Arc;
use std::time::Duration;

use rhai::{Dynamic, Engine, EvalAltResult, Module, Position, exported_module};

use crate::base::Timestamp;
use crate::script::build::Build;
use crate::script::container::Container;
use crate::script::context::{Host, Tag};
use crate::script::error::missing_property;
use crate::script::image::Image;
use crate::script::network::Network;
use crate::script::output::Output;
use crate::script::resolve::Modules;
use crate::script::secret::Secret;
use crate::script::suggest;
use crate::script::topology::Topology;
use crate::script::units::Size;
use crate::script::volume::Volume;

/// How deep script functions may call each other.
pub(crate) const MAX_CALL_LEVELS: usize = 128;
/// How deep expressions may nest, outside and inside functions.
pub(crate) const MAX_EXPR_DEPTH: usize = 256;
/// The longest string, in bytes.
pub(crate) const MAX_STRING_BYTES: usize = 64 * 1024 * 1024;
/// The most items of an array.
pub(crate) const MAX_ARRAY_ITEMS: usize = 1_000_000;
/// The most entries of a map.
pub(crate) const MAX_MAP_ENTRIES: usize = 1_000_000;
/// The most modules that one script may import.
pub(crate) const MAX_MODULES: usize = 1_000;
/// The stack on which scripts run, in bytes: enough for [`MAX_CALL_LEVELS`] also in a debug build. Untouched pages cost
/// nothing.
pub(crate) const STACK_BYTES: usize = 256 * 1024 * 1024;

/// An engine with everything registered and nothing to run it with: for documentation and checks.
pub(crate) fn bare_engine() -> Engine {
    let mut engine = Engine::new();
    limits(&mut engine);
    register(&mut engine);
    engine
}

/// The engine of a running script.
pub(crate) fn engine_for(tag: Tag, modules: Modules) -> Engine {
    let mut engine = bare_engine();
    let host = tag.host.clone();
    hooks(&mut engine, &host);
    engine.set_default_tag(tag.into_dynamic());
    engine.set_module_resolver(modules);
    engine
}

fn limits(engine: &mut Engine) {
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    engine.set_max_call_levels(MAX_CALL_LEVELS);
    engine.set_max_expr_depths(MAX_EXPR_DEPTH, MAX_EXPR_DEPTH);
    engine.set_max_string_size(MAX_STRING_BYTES);
    engine.set_max_array_size(MAX_ARRAY_ITEMS);
    engine.set_max_map_size(MAX_MAP_ENTRIES);
    engine.set_max_modules(MAX_MODULES);
    engine.disable_symbol("eval");
}

fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Container>("Container")
        .register_type_with_name::<Image>("Image")
        .register_type_with_name::<Volume>("Volume")
        .register_type_with_name::<Network>("Network")
        .register_type_with_name::<Topology>("Topology")
        .register_type_with_name::<Build>("Build")
        .register_type_with_name::<Output>("Output")
        .register_type_with_name::<Secret>("Secret")
        .register_type_with_name::<Size>("Size")
        .register_type_with_name::<Duration>("Duration")
        .register_type_with_name::<Timestamp>("Time");
    let mut globals = Module::new();
    crate::script::units::number_properties(&mut globals);
    engine.register_global_module(globals.into());
    engine.register_global_module(exported_module!(crate::script::units::unit_functions).into());
    engine.register_global_module(exported_module!(crate::script::units::text_functions).into());
    engine.register_global_module(exported_module!(crate::script::error::text_errors).into());
    engine.register_global_module(exported_module!(crate::script::control::control_functions).into());
    engine.register_global_module(exported_module!(crate::script::args::arg_functions).into());
    engine.register_global_module(exported_module!(crate::script::output::output_functions).into());
    engine.register_global_module(exported_module!(crate::script::display::display_functions).into());
    let nouns: [(&str, Module); 9] = [
        ("container", container_module()),
        ("image", exported_module!(crate::script::image::image_functions)),
        ("volume", exported_module!(crate::script::volume::volume_functions)),
        ("network", network_module()),
        ("build", build_module()),
        ("backup", exported_module!(crate::script::backup::backup_functions)),
        ("system", system_module()),
        ("secret", exported_module!(crate::script::secret::secret_functions)),
        ("host", host_module()),
    ];
    for (name, module) in nouns {
        engine.register_static_module(name, module.into());
    }
}

fn container_module() -> Module {
    let mut module = exported_module!(crate::script::container::functions::container_functions);
    module.combine(exported_module!(crate::script::container::properties::container_properties));
    module.combine(exported_module!(crate::script::container::verbs::container_verbs));
    module.combine(exported_module!(crate::script::container::logs::container_logs));
    module.combine(exported_module!(crate::script::container::attach::container_attach));
    module.combine(exported_module!(crate::script::container::waits::container_waits));
    module.combine(exported_module!(crate::script::container::observe::container_observe));
    module.combine(exported_module!(crate::script::container::content::container_content));
    module.combine(exported_module!(crate::script::network::container_networks));
    module.combine(exported_module!(crate::script::reach::container_reach));
    module
}

fn network_module() -> Module {
    let mut module = exported_module!(crate::script::network::network_functions);
    module.combine(exported_module!(crate::script::topology::topology_functions));
    module
}

fn host_module() -> Module {
    let mut module = exported_module!(crate::script::host::host_functions);
    module.combine(exported_module!(crate::script::http::http_functions));
    module
}

fn build_module() -> Module {
    let mut module = exported_module!(crate::script::build::functions::build_functions);
    module.combine(exported_module!(crate::script::build::results::build_results));
    module
}

fn system_module() -> Module {
    let mut module = exported_module!(crate::script::system::system_functions);
    module.combine(exported_module!(crate::script::events::event_functions));
    module
}

fn hooks(engine: &mut Engine, host: &Arc<Host>) {
    let stop = host.clone();
    engine.on_progress(move |_| stop.is_stopping().then_some(Dynamic::UNIT));
    let out = host.clone();
    engine.on_print(move |text| out.say(&format!("{text}\n")));
    let out = host.clone();
    engine.on_debug(move |text, _, position| {
        let place = position.line().map(|line| format!("{line}: ")).unwrap_or_default();
        out.note(&format!("{place}{text}"));
    });
    let names = host.clone();
    engine.on_map_missing_property(move |map, property, context| {
        if let Some(value) = missing_property(map, property, names.names(context.engine())) {
            return Ok(value.into());
        }
        let hint = crate::base::suggest::hint(property, map.keys().map(rhai::Identifier::as_str));
        let error = crate::base::Error::invalid(format!("this map has no property {property:?}"));
        let error = match hint {
            Some(hint) => error.with_hint(hint),
            None => error.with_hint("name in map, or map[\"name\"], asks without an error"),
        };
        let map = crate::script::error::error_map(&error);
        Err(EvalAltResult::ErrorRuntime(map.into(), Position::NONE).into())
    });
}

/// What a parse error means, for the REPL: the text ended before the statement did.
pub(crate) fn is_incomplete(error: &rhai::ParseError, text: &str) -> bool {
    use rhai::{LexError, ParseErrorType};
    let past_the_end = || match (error.position().line(), error.position().position()) {
        (Some(line), column) => {
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.last().map_or(0, |line| line.trim_end().chars().count());
            line > lines.len() || line == lines.len() && column.unwrap_or(1) > last
        }
        _ => true,
    };
    match error.err_type() {
        ParseErrorType::UnexpectedEOF => true,
        ParseErrorType::BadInput(LexError::UnterminatedString) => true,
        ParseErrorType::MissingToken(..) => past_the_end(),
        _ => false,
    }
}

/// The names that complete a word: variables come from the session.
pub(crate) fn names(engine: &Engine) -> suggest::Names {
    suggest::Names::of(engine)
}
