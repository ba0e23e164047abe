"""From a finished run to a repository on the Hub: report, card, licence, checks, upload."""
