# The sequence `dh --with colab-env`, for packages that build-depend on dh-sequence-colab-env.
use strict;
use warnings;
use Debian::Debhelper::Dh_Lib;

insert_after('dh_install', 'dh_colab_env');

1;
