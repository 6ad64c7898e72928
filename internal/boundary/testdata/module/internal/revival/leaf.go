package revival
