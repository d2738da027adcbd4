"""Drop-in classes: what the names of opentelemetry-sdk become after `nuages.install()`."""
