#!/usr/bin/env bash
# wheel_libs.sh [ARCHITECTURE]: libcurl with nothing but HTTP/1.1, HTTP/2, TLS and proxies, as static position-independent archives for the
# wheel's extension (Debian's own archives are not PIC, and its libcurl.so pulls some thirty libraries). Sources: the Debian source packages
# curl, nghttp2 and openssl of the release this runs on. Result: build/wheel-libs/<architecture>/{include,lib}, made once. About five minutes
# on two cores. ARCHITECTURE: x86_64 (default: this machine's) or aarch64 (cross, needs g++-12-aarch64-linux-gnu).
set -euo pipefail
cd "$(dirname "$0")/.."
machine=$(uname -m)
arch=${1:-$machine}
prefix=$PWD/build/wheel-libs/$arch
work=$PWD/build/wheel-libs/src
jobs=${JOBS:-$(nproc)}
[ -f "$prefix/done" ] && exit 0
mkdir -p "$work/apt/lists/partial" "$prefix"

. /etc/os-release
mirror=${NUAGES_DEBIAN_MIRROR:-http://deb.debian.org}
printf 'deb-src %s/debian %s main\ndeb-src %s/debian-security %s-security main\n' "$mirror" "$VERSION_CODENAME" "$mirror" "$VERSION_CODENAME" > "$work/apt/sources.list"
apt=(-o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/apt/lists"
     -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root)
source_of() {  # source_of PACKAGE: unpacked, with Debian's (security) patches, in $work/PACKAGE
  [ -d "$work/$1" ] && return 0
  local got=$work/get-$1 version
  rm -rf "$got" && mkdir -p "$got"
  # A mirror may list a version whose files it has no more: newest first, the first that comes.
  for version in $(apt-cache "${apt[@]}" showsrc "$1" | awk '/^Version:/ {print $2}' | sort -Vru); do
    if (cd "$got" && apt-get "${apt[@]}" -qq source "$1=$version" >> "$prefix/apt.log" 2>&1); then
      mv "$(find "$got" -mindepth 1 -maxdepth 1 -type d)" "$work/$1" && rm -rf "$got"
      echo "$1 $version" >> "$prefix/versions.part"
      return 0
    fi
  done
  tail -n 5 "$prefix/apt.log" >&2
  echo "wheel_libs.sh: the source package of $1 cannot be had" >&2
  return 1
}
quiet() { "$@" >> "$prefix/build.log" 2>&1 || { tail -n 40 "$prefix/build.log" >&2; echo "wheel_libs.sh: $* failed; log: $prefix/build.log" >&2; exit 1; }; }

host=() cross=() openssl_target=linux-$arch
export CFLAGS="-O2 -g0 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fstack-protector-strong"
if [ "$arch" != "$machine" ]; then
  export CC=$arch-linux-gnu-gcc-12 CXX=$arch-linux-gnu-g++-12 AR=$arch-linux-gnu-ar RANLIB=$arch-linux-gnu-ranlib
  host=(--host="$arch-linux-gnu")
fi
rm -f "$prefix/versions.part"
quiet apt-get "${apt[@]}" -qq update
for package in openssl nghttp2 curl; do source_of "$package"; done
build=$prefix/build
rm -rf "$build" && mkdir -p "$build"/{openssl,nghttp2,curl}

# No configuration file, no engines, no loadable modules: another OpenSSL (Python's) may live in the same process.
cd "$build/openssl"
quiet perl "$work/openssl/Configure" "$openssl_target" --prefix="$prefix" --libdir=lib --openssldir=/etc/ssl $CFLAGS no-shared no-tests no-module \
  no-engine no-legacy no-autoload-config no-comp no-ssl3 no-dtls no-srp no-ui-console no-rc2 no-rc4 no-rc5 no-idea no-seed no-camellia no-aria \
  no-bf no-cast no-des no-md4 no-mdc2 no-rmd160 no-whirlpool no-sm2 no-sm3 no-sm4 no-gost no-cms no-ts no-ct no-rfc3779 no-ocsp no-afalgeng
quiet make -s -j "$jobs" build_libs
quiet make -s install_dev

cd "$build/nghttp2"
quiet "$work/nghttp2/configure" "${host[@]}" --prefix="$prefix" --enable-lib-only --disable-shared --enable-static --with-pic --disable-dependency-tracking
quiet make -s -j "$jobs" -C lib install

cd "$build/curl"
[ -x "$work/curl/configure" ] || (cd "$work/curl" && quiet autoreconf -fi)
quiet env PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LIBS="-lpthread -ldl" "$work/curl/configure" "${host[@]}" --prefix="$prefix" --disable-shared --enable-static --with-pic --disable-dependency-tracking \
  --with-openssl="$prefix" --with-nghttp2="$prefix" --without-ca-bundle --without-ca-path --without-ca-fallback --enable-threaded-resolver --enable-ipv6 \
  --enable-proxy --enable-http --enable-unix-sockets --without-zlib --without-brotli --without-zstd --without-libidn2 --without-libpsl --without-librtmp \
  --without-libssh --without-libssh2 --without-gssapi --disable-ares --disable-ldap --disable-ldaps --disable-ftp --disable-file --disable-dict --disable-telnet --disable-tftp \
  --disable-pop3 --disable-imap --disable-smb --disable-smtp --disable-gopher --disable-mqtt --disable-rtsp --disable-manual --disable-cookies \
  --disable-alt-svc --disable-hsts --disable-ntlm --disable-ntlm-wb --disable-netrc --disable-libcurl-option --disable-doh --disable-progress-meter \
  --disable-mime --disable-form-api --disable-get-easy-options --disable-aws --disable-headers-api
quiet make -s -j "$jobs" -C lib install
quiet make -s -C include install
quiet make -s install-pkgconfigDATA
cd "$prefix" && rm -rf "$build" && mv versions.part versions && touch done
ls -l "$prefix"/lib/*.a
