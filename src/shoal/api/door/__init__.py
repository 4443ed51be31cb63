"""Who is asking and what they may: sign-in, sessions, rights by address."""
