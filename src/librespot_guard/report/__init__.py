"""What was found, for people and for programs: text as lines of styled spans, JSON documents, and generated pages."""
