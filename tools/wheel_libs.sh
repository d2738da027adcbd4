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
      echo "$1 $version" > "$work/$1.version"
      return 0
    fi
  done
  tail -n 5 "$prefix/apt.log" >&2
  echo "wheel_libs.sh: the source package of $1 cannot be had" >&2
  return 1
}
quiet() { "$@" >> "$prefix/build.log" 2>&1 || { tail -n 40 "$prefix/build.log" >&2; echo "wheel_libs.sh: $* failed; log: $prefix/build.log" >&2; exit 1; }; }

cmake_common=(-DCMAKE_BUILD_TYPE=None -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_POSITION_INDEPENDENT_CODE=ON)
openssl_target=linux-$arch
export CFLAGS="-O2 -g0 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fstack-protector-strong"
if [ "$arch" != "$machine" ]; then
  export CC=$arch-linux-gnu-gcc-12 CXX=$arch-linux-gnu-g++-12 AR=$arch-linux-gnu-ar RANLIB=$arch-linux-gnu-ranlib
  cmake_common+=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$arch" -DCMAKE_CROSSCOMPILING_EMULATOR="qemu-$arch-static;-L;/usr/$arch-linux-gnu")
fi
quiet apt-get "${apt[@]}" -qq update
for package in openssl nghttp2 curl; do source_of "$package"; done
read -ra openssl_flags <<< "$CFLAGS"
build=$prefix/build
rm -rf "$build" && mkdir -p "$build/openssl"

# No configuration file, no engines, no loadable modules: another OpenSSL (Python's) may live in the same process.
if [ ! -f "$prefix/lib/libssl.a" ]; then
cd "$build/openssl"
quiet perl "$work/openssl/Configure" "$openssl_target" --prefix="$prefix" --libdir=lib --openssldir=/etc/ssl "${openssl_flags[@]}" no-shared no-tests no-module \
  no-engine no-legacy no-autoload-config no-comp no-ssl3 no-dtls no-srp no-ui-console no-rc2 no-rc4 no-rc5 no-idea no-seed no-camellia no-aria \
  no-bf no-cast no-des no-md4 no-mdc2 no-rmd160 no-whirlpool no-sm2 no-sm3 no-sm4 no-gost no-cms no-ts no-ct no-rfc3779 no-ocsp no-afalgeng
quiet make -s -j "$jobs" build_libs
quiet make -s install_dev
fi

quiet cmake -S "$work/nghttp2" -B "$build/nghttp2" -G Ninja "${cmake_common[@]}" -DENABLE_LIB_ONLY=ON -DENABLE_SHARED_LIB=OFF -DENABLE_STATIC_LIB=ON
quiet cmake --build "$build/nghttp2" -j "$jobs" --target install

quiet cmake -S "$work/curl" -B "$build/curl" -G Ninja -DCMAKE_C_FLAGS="$CFLAGS -DCURL_DISABLE_NTLM -w" "${cmake_common[@]}" -DCMAKE_PREFIX_PATH="$prefix" -DOPENSSL_ROOT_DIR="$prefix" \
  -DOPENSSL_USE_STATIC_LIBS=ON -DNGHTTP2_INCLUDE_DIR="$prefix/include" -DNGHTTP2_LIBRARY="$prefix/lib/libnghttp2.a" -DBUILD_SHARED_LIBS=OFF \
  -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF -DENABLE_MANUAL=OFF -DHTTP_ONLY=ON -DCURL_USE_OPENSSL=ON -DUSE_NGHTTP2=ON -DENABLE_THREADED_RESOLVER=ON \
  -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none -DCURL_CA_FALLBACK=OFF -DCURL_ZLIB=OFF -DCURL_BROTLI=OFF -DCURL_ZSTD=OFF -DUSE_LIBIDN2=OFF -DCURL_USE_LIBPSL=OFF \
  -DCURL_USE_LIBSSH=OFF -DCURL_USE_LIBSSH2=OFF -DCURL_USE_GSSAPI=OFF -DCURL_DISABLE_COOKIES=ON -DCURL_DISABLE_ALTSVC=ON -DCURL_DISABLE_HSTS=ON \
  -DCURL_DISABLE_NETRC=ON -DCURL_DISABLE_DOH=ON -DCURL_DISABLE_MIME=ON -DCURL_DISABLE_OPENLDAP=ON -DCURL_DISABLE_PROGRESS_METER=OFF
quiet cmake --build "$build/curl" -j "$jobs" --target install
cd "$prefix" && rm -rf "$build" && cat "$work"/*.version > versions && touch done
ls -l "$prefix"/lib/*.a
