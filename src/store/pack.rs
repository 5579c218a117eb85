//! Trees to tar: deterministic (sorted names, numeric ids), with hard links, xattrs, device nodes and sparse files.
