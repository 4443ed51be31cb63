"""Program books that come with the package."""
