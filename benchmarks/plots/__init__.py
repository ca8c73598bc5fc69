"""Pictures of results: light, labelled at the lines themselves, in colours that everybody can tell apart."""
