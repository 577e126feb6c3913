"""What a study asks, one section each: computed, in sentences, drawn."""
