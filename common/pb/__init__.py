"""Generated from proto/ by `make proto` and at install; never edited by hand."""
