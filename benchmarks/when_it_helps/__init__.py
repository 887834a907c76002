"""When does each attention help? Tasks, one training loop, and the page docs/when_it_helps.md."""
