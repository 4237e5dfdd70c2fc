"""What a build or an import needs from the operating system, and how that is found out."""
