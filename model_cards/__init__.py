"""The card templates, one a language, as data of a package: an installed wheel has them too."""
