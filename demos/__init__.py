"""What a visitor sees: one module a tab, and what they share."""
