//! Image archives: docker-archive and OCI image layout, as tar and as folder, read and written.
